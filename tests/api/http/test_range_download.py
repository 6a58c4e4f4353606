"""Downloads: ranges, tags, names that attack, and nothing that a browser would run."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.model.filenames import disposition
from support import server as servers
from support.archives import Entry, archive

BODY = b"0123456789"


@pytest.fixture(scope="module")
def url(running_server: servers.Server) -> str:
    """The address of a finished output whose bytes are `BODY`."""
    batch_id = running_server.send(BODY[::-1])["id"]
    running_server.wait(batch_id)
    return running_server.items(batch_id)[0]["outputs"][0]["url"]


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes = 2-2", (2, 3)),
    ],
)
def test_one_range_is_sent(
    server: servers.Server, url: str, asked: str, span: tuple[int, int]
) -> None:
    start, stop = span
    answer = server.client.get(url, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == BODY[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/10"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,4-5", "bytes=5-2", "items=0-1", "bytes=", "bytes=-", "bytes=a-b", "x"]
)
def test_several_ranges_or_nonsense_get_the_whole_file(
    server: servers.Server, url: str, asked: str
) -> None:
    answer = server.client.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, BODY)


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(
    server: servers.Server, url: str, asked: str
) -> None:
    answer = server.client.get(url, headers={"Range": asked})

    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */10"


def test_a_client_that_has_the_file_gets_304(server: servers.Server, url: str) -> None:
    tag = server.client.get(url).headers["etag"]

    for sent in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        assert server.client.get(url, headers={"If-None-Match": sent}).status_code == 304
    assert server.client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_range_of_another_version_becomes_the_whole_file(
    server: servers.Server, url: str
) -> None:
    tag = server.client.get(url).headers["etag"]

    same = server.client.get(url, headers={"Range": "bytes=0-1", "If-Range": tag})
    other = server.client.get(url, headers={"Range": "bytes=0-1", "If-Range": '"older"'})

    assert (same.status_code, other.status_code) == (206, 200)
    assert other.content == BODY


def test_head_tells_the_size_and_sends_nothing(server: servers.Server, url: str) -> None:
    answer = server.client.head(url)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == "10"


def test_a_download_is_never_run_by_a_browser(server: servers.Server, url: str) -> None:
    headers = server.client.get(url).headers

    assert headers["content-disposition"].startswith("attachment;")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("sandbox")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        'quote".txt',
        "line\r\nSet-Cookie: a=b.txt",
        "ünï çødé 😀.txt",
        "a/b/c.txt",
        "C:\\Windows\\x.txt",
        "%2e%2e%2fx.txt",
        "semi;colon=x.txt",
        "\u202egpj.exe",
        "?query#part.txt",
        "x" * 300 + ".txt",
    ],
)
def test_a_file_with_any_name_comes_back_under_a_harmless_one(
    server: servers.Server, name: str
) -> None:
    batch_id = server.send(b"abc", names=[name])["id"]
    assert server.wait(batch_id)["status"] == "completed"
    (item,) = server.items(batch_id)

    answer = server.client.get(item["outputs"][0]["url"])

    assert answer.content == b"cba"
    offered = answer.headers["content-disposition"]
    assert offered.isascii()
    assert offered.isprintable()
    assert "/" not in offered
    assert "set-cookie" not in answer.headers


@given(name=st.text(max_size=300))
def test_an_offered_name_is_one_line_of_ascii_with_two_quotes(name: str) -> None:
    header = disposition(name)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "/" not in header


def test_an_output_that_was_not_made_is_not_found(server: servers.Server, url: str) -> None:
    item_url = url.rpartition("/outputs/")[0]

    for name in ("other.txt", "../../../../etc/passwd", "%2e%2e/x", "%00"):
        assert server.client.get(f"{item_url}/outputs/{name}").status_code == 404


def test_a_thumbnail_is_a_small_picture_among_the_outputs(server: servers.Server) -> None:
    batch_id = server.send(b"PNG picture", b"text")["id"]
    server.wait(batch_id)
    picture, text = server.items(batch_id)

    found = server.client.get(f"/v1/items/{picture['id']}/thumbnail")
    missing = server.client.get(f"/v1/items/{text['id']}/thumbnail")

    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")
    assert missing.status_code == 404


def test_an_original_comes_back_as_it_was_sent_and_is_not_run(server: servers.Server) -> None:
    batch_id = server.send(b"<script>1</script>", names=["../a b/evil.html"])["id"]
    server.wait(batch_id)
    url = f"/v1/items/{server.items(batch_id)[0]['id']}/input"
    whole = server.client.get(url)
    part = server.client.get(url, headers={"Range": "bytes=1-6"})

    assert whole.content == b"<script>1</script>"
    assert part.content == b"script"
    assert whole.headers["content-disposition"].startswith('attachment; filename="evil.html"')
    assert "sandbox" in whole.headers["content-security-policy"]
    assert whole.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_original_is_read_out_of_its_archive(server: servers.Server, method: int) -> None:
    body = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9_000
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as writing:
        writing.writestr("first.bin", b"another")
        writing.writestr("big.bin", body)
    batch_id = server.send(archive.getvalue(), names=["all.zip"])["id"]
    server.wait(batch_id)
    url = f"/v1/items/{server.items(batch_id)[1]['id']}/input"
    part = server.client.get(url, headers={"Range": "bytes=1500000-"})

    whole = server.client.get(url)

    assert (whole.content, whole.headers["content-type"]) == (body, "image/png")
    assert (part.status_code, part.content) == (206, body[1_500_000:])
    assert server.eventually(lambda: not any(server.context.uploads.iterdir()))


def test_an_original_that_is_gone_is_not_found_under_its_item(server: servers.Server) -> None:
    batch_id = server.send(b"soon gone")["id"]
    server.wait(batch_id)
    item_id = server.items(batch_id)[0]["id"]
    server.run(server.context.storage.delete_prefix(f"batches/{batch_id}/"))
    answer = server.client.get(f"/v1/items/{item_id}/input")

    assert answer.status_code == 404
    assert answer.json()["detail"] == f"There is no input of item {item_id!r}."


def test_an_original_that_the_client_has_is_not_unpacked_again(server: servers.Server) -> None:
    batch_id = server.send(archive(Entry(b"a.png", b"hello")), names=["a.zip"])["id"]
    server.wait(batch_id)
    address = f"/v1/items/{server.items(batch_id)[0]['id']}/input"
    tag = server.client.get(address).headers["etag"]
    server.run(server.context.storage.delete_prefix(f"batches/{batch_id}/"))

    assert server.client.get(address, headers={"If-None-Match": tag}).status_code == 304
    assert not server.client.get(address).is_success
