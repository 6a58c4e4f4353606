"""Multipart forms: whatever way the bytes arrive, files are whole or none is left."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.api.http.multipart import (
    Form,
    FormLimits,
    ReceivedFile,
    RefusedFile,
    receive_form,
    require_space,
)
from batchmill.errors.outage import StorageFullError
from batchmill.errors.request import MalformedUploadError, TooLargeError

BOUNDARY = b"----boundary7"
CONTENT_TYPE = "multipart/form-data; boundary=----boundary7"
LIMITS = FormLimits(file_bytes=10_000, zip_bytes=100_000, request_bytes=10**7, files=4)


def part(disposition: str | bytes, body: bytes, *headers: bytes) -> bytes:
    raw = disposition.encode() if isinstance(disposition, str) else disposition
    lines = [b"--" + BOUNDARY, b"Content-Disposition: " + raw, *headers, b"", body]
    return b"\r\n".join(lines) + b"\r\n"


def a_file(body: bytes, filename: str = "a.jpg") -> bytes:
    disposition = f'form-data; name="files"; filename="{filename}"'
    return part(disposition, body, b"Content-Type: image/jpeg")


def a_field(name: str, value: bytes) -> bytes:
    return part(f'form-data; name="{name}"', value)


def closed(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


async def arriving(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def receive(body: bytes | Iterable[bytes], folder: Path, limits: FormLimits = LIMITS) -> Form:
    chunks = [body] if isinstance(body, bytes) else body
    return asyncio.run(receive_form(arriving(chunks), CONTENT_TYPE, folder=folder, limits=limits))


def received(form: Form) -> list[ReceivedFile]:
    """Return the files of a form, all of which were kept."""
    kept = [file for file in form.files if isinstance(file, ReceivedFile)]
    assert len(kept) == len(form.files)
    return kept


def refuse(body: bytes, folder: Path, limits: FormLimits = LIMITS) -> str:
    """Return the sentence with which a body is refused; nothing is left on the disk."""
    with pytest.raises((MalformedUploadError, TooLargeError)) as refused:
        receive(body, folder, limits)
    assert list(folder.iterdir()) == []
    return refused.value.message


TRICKY = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n--", BOUNDARY, BOUNDARY[:-1], b"--", b"x" * 100, b"\0"]),
    max_size=12,
).map(b"".join)
BODIES = TRICKY.filter(lambda body: b"--" + BOUNDARY not in b"\r\n" + body)


@settings(deadline=None)
@given(bodies=st.lists(BODIES, max_size=4), size=st.integers(1, 300))
def test_files_arrive_unchanged_however_the_body_is_cut(bodies: list[bytes], size: int) -> None:
    body = closed(*(a_file(content, f"{number}.jpg") for number, content in enumerate(bodies)))
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    with tempfile.TemporaryDirectory() as folder:
        files = received(receive(chunks, Path(folder)))
        assert [file.path.read_bytes() for file in files] == bodies
    assert [file.bytes for file in files] == [len(content) for content in bodies]
    hashes = [hashlib.sha256(content).hexdigest() for content in bodies]
    assert [file.sha256 for file in files] == hashes
    assert [file.head for file in files] == bodies


def test_fields_keep_their_order_and_repeat(tmp_path: Path) -> None:
    body = closed(
        a_field("pipeline", b'{"steps":[]}'),
        a_file(b"1"),
        a_field("tag", b"b"),
        a_field("tag", "ä".encode()),
        a_field("empty", b""),
    )
    form = receive(body, tmp_path)
    assert form.fields == {"pipeline": ['{"steps":[]}'], "tag": ["b", "ä"], "empty": [""]}
    assert [file.field for file in form.files] == ["files"]


def test_a_large_file_keeps_only_its_head_in_memory(tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    limits = FormLimits(file_bytes=10**7, zip_bytes=10**7, request_bytes=10**7, files=1)
    (file,) = received(receive(closed(a_file(body)), tmp_path, limits))
    assert file.path.read_bytes() == body
    assert file.head == body[:4096]


def test_files_lie_under_names_of_ours_and_only_we_may_read_them(tmp_path: Path) -> None:
    form = receive(closed(a_file(b"1", "../../evil"), a_file(b"2", "/etc/passwd")), tmp_path)
    assert [file.name for file in form.files] == ["evil", "etc/passwd"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ('filename="été.jpg"'.encode(), "été.jpg"),
        ('filename="été.jpg"'.encode("latin-1"), "été.jpg"),
        (b"filename=\"x.jpg\"; filename*=UTF-8''%C3%A9t%C3%A9.jpg", "été.jpg"),
        (b"filename*=UTF-8''%C3%A9t%C3%A9.jpg; filename=\"x.jpg\"", "été.jpg"),
        (b"filename*0*=UTF-8''%C3%A9t; filename*1*=%C3%A9.jpg", "été.jpg"),
        (b'filename="a;b \\"c\\".jpg"', 'a;b "c".jpg'),
        (b'filename="say %22hi%22.jpg"', 'say "hi".jpg'),
        (b'filename="C:\\fakepath\\a.jpg"', "fakepath/a.jpg"),
        (b"filename=plain.jpg", "plain.jpg"),
        (b"filename*=unheard-of''%FF.jpg", "ÿ.jpg"),
        (b'filename="a%0D%0AX: y.jpg"', "a__X: y.jpg"),
    ],
)
def test_file_names_are_read_as_clients_write_them(
    parameters: bytes, name: str, tmp_path: Path
) -> None:
    body = closed(part(b'form-data; name="files"; ' + parameters, b"1"))
    assert [file.name for file in receive(body, tmp_path).files] == [name]


def test_a_file_input_that_was_left_empty_is_no_file(tmp_path: Path) -> None:
    form = receive(closed(a_file(b"", ""), a_field("tag", b"x")), tmp_path)
    assert form.files == ()
    assert list(tmp_path.iterdir()) == []


def test_a_nameless_file_with_bytes_and_an_empty_file_with_a_name_are_files(tmp_path: Path) -> None:
    form = receive(closed(a_file(b"1", ""), a_file(b"", "empty.jpg")), tmp_path)
    assert [(file.name, file.bytes) for file in form.files] == [("unnamed", 1), ("empty.jpg", 0)]


def test_a_form_without_parts_is_empty(tmp_path: Path) -> None:
    assert receive(closed(), tmp_path) == Form({}, ())


def test_progress_is_told_in_bytes_of_the_body(tmp_path: Path) -> None:
    body, told = closed(a_file(b"12345")), list[int]()
    stream = arriving([body[:50], body[50:]])
    asyncio.run(
        receive_form(stream, CONTENT_TYPE, folder=tmp_path, limits=LIMITS, on_bytes=told.append)
    )
    assert told == [50, len(body)]


def test_limits_are_those_of_the_file_s_own_type(tmp_path: Path) -> None:
    archive = b"PK\x03\x04" + b"x" * 50_000
    assert receive(closed(a_file(archive, "a.zip")), tmp_path).files[0].bytes == len(archive)


@settings(deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 9_999, 10_000, 10_001, 30_000]), min_size=1, max_size=4),
    size=st.integers(100, 20_000),
)
def test_files_over_their_limit_are_told_of_and_the_others_are_whole(
    sizes: list[int], size: int
) -> None:
    sizes = [7, *sizes[:3]]
    bodies = [bytes([number]) * length for number, length in enumerate(sizes)]
    body = closed(*(a_file(content, f"{number}.jpg") for number, content in enumerate(bodies)))
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    with tempfile.TemporaryDirectory() as folder:
        form = receive(chunks, Path(folder))
        kept = [file for file in form.files if isinstance(file, ReceivedFile)]
        assert [file.path.read_bytes() for file in kept] == [b for b in bodies if len(b) <= 10_000]
        assert len(list(Path(folder).iterdir())) == len(kept)
    refused = [file for file in form.files if isinstance(file, RefusedFile)]
    assert [file.bytes for file in refused] == [size for size in sizes if size > 10_000]
    assert {file.limit_bytes for file in refused} <= {10_000}
    assert [file.name for file in form.files] == [f"{n}.jpg" for n in range(len(sizes))]


def test_a_request_for_one_file_ends_where_that_is_over_its_limit(tmp_path: Path) -> None:
    limits = FormLimits(file_bytes=100, zip_bytes=100, request_bytes=10**7, files=1)
    read: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield closed(a_file(b"")).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        for number in range(1_000):
            read.append(number)
            yield b"x" * 60

    with pytest.raises(TooLargeError, match=r"a\.jpg is larger"):
        asyncio.run(receive_form(endless(), CONTENT_TYPE, folder=tmp_path, limits=limits))
    assert read == [0, 1]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (closed(*[a_file(b"x" * 10_001)] * 2), "a.jpg is larger than the limit of 10 kB"),
        (
            closed(a_file(b"x" * 10_001)),
            "a.jpg is larger than the limit of 10 kB; make it smaller, or raise BATCHMILL_TIERS_",
        ),
        (
            closed(a_file(b"PK\x03\x04" + b"x" * 100_000)),
            "100 kB; make it smaller, or raise BATCHMILL_TIERS_ANONYMOUS_ZIP_BYTES",
        ),
        (closed(*[a_file(b"1")] * 5), "more than 4 files"),
        (closed(*[a_field("tag", b"1")] * 101), "more than 100 fields"),
        (closed(a_field("pipeline", b"x" * (2**20 + 1))), "'pipeline' is larger than"),
        (
            closed(*[a_field("tag", b"x" * 2**20)] * 10),
            "request is larger than the limit of 10 MB",
        ),
    ],
)
def test_what_is_over_a_limit_is_refused_by_name(
    body: bytes, sentence: str, tmp_path: Path
) -> None:
    assert sentence in refuse(body, tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        a_file(b"1"),
        closed(a_file(b"1"))[:-5],
        closed(a_file(b"1"), part("attachment; name=x", b"1")),
        closed(part('form-data; filename="a.jpg"', b"1")),
        closed(part("form-data", b"1")),
        closed(a_file(b"1"), a_field("tag", b"\xff")),
        closed(part("form-data; name=x", b"1", b"Content-Disposition: form-data; name=y")),
        closed(part("form-data; name=x", b"YQ==", b"Content-Transfer-Encoding: base64")),
        closed(part("form-data; name=x", b"1", *[b"X: y"] * 8)),
        closed(part("form-data; name=" + "x" * 9_000, b"1")),
        closed(part("form-data; name=x", b"1", b"Bad Header: y")),
        b"--" + BOUNDARY + b"\r\n\r\nno headers\r\n--" + BOUNDARY + b"--",
    ],
)
def test_what_is_no_whole_form_is_refused_and_leaves_nothing(body: bytes, tmp_path: Path) -> None:
    assert refuse(body, tmp_path).endswith((".", "again."))


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 71],
)
def test_another_content_type_is_refused(content_type: str, tmp_path: Path) -> None:
    with pytest.raises(MalformedUploadError, match="names a boundary"):
        asyncio.run(receive_form(arriving([]), content_type, folder=tmp_path, limits=LIMITS))


def test_a_client_that_leaves_leaves_nothing_behind(tmp_path: Path) -> None:
    async def leaving() -> AsyncIterator[bytes]:
        yield a_file(b"1") + a_file(b"2" * 9_000)[:-100]
        await asyncio.sleep(0)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(receive_form(leaving(), CONTENT_TYPE, folder=tmp_path, limits=LIMITS))
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_upload_waits_for_its_thread_and_leaves_nothing_behind(tmp_path: Path) -> None:
    limits = FormLimits(file_bytes=10**9, zip_bytes=10**9, request_bytes=10**9, files=1)
    arrived = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield a_file(b"x" * 5 * 2**20)[:-100]
        yield b"x" * 5 * 2**20
        arrived.set()
        await asyncio.Event().wait()

    async def story() -> None:
        upload = asyncio.create_task(
            receive_form(slow(), CONTENT_TYPE, folder=tmp_path, limits=limits)
        )
        await arrived.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload

    asyncio.run(story())
    assert list(tmp_path.iterdir()) == []


def test_the_disk_s_reserve_is_left_free(tmp_path: Path) -> None:
    limits = FormLimits(
        file_bytes=100, zip_bytes=100, request_bytes=10_000, files=1, reserve_bytes=2**60
    )
    with pytest.raises(StorageFullError):
        receive(closed(a_file(b"1")), tmp_path, limits)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageFullError):
        require_space(tmp_path, limits, expected_bytes=10)


def test_a_body_that_is_announced_too_large_is_refused_unread(tmp_path: Path) -> None:
    require_space(tmp_path, LIMITS, expected_bytes=10**7)
    with pytest.raises(TooLargeError):
        require_space(tmp_path, LIMITS, expected_bytes=10**7 + 1)
