"""Reports, archives of results, one file at once, and plans."""

import csv
import io
import json
import zipfile
from typing import Any

import httpx
import pytest

from batchmill.service.submission import submit
from support import documents
from support import server as servers


@pytest.fixture(scope="module")
def ended(running_server: servers.Server) -> str:
    """A batch of three files, one of which failed, one with a name like a formula."""
    batch_id = running_server.send(
        b"one", b"bad", b"three", names=["=1+1.txt", "bad.txt", "dir/c.txt"], name="Réport"
    )["id"]
    running_server.wait(batch_id)
    return batch_id


def test_a_report_has_a_line_for_each_file(server: servers.Server, ended: str) -> None:
    answer = server.client.get(f"/v1/batches/{ended}/report")

    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line["status"] for line in lines] == ["completed", "failed", "completed"]
    assert lines[0]["outputs"][0]["bytes"] == 3
    assert lines[1]["error"]["code"] == "unreadable_file"
    assert server.client.get(lines[2]["outputs"][0]["url"]).content == b"eerht"


def test_no_cell_of_a_csv_report_is_a_formula(server: servers.Server, ended: str) -> None:
    answer = server.client.get(f"/v1/batches/{ended}/report?format=csv")

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["path"] for row in rows] == ["'=1+1.txt", "bad.txt", "dir/c.txt"]
    assert rows[1]["error_code"] == "unreadable_file"
    assert "attachment" in answer.headers["content-disposition"]
    assert not any(cell[:1] in "=+-@\t\r" for row in rows for cell in row.values() if cell)


def test_a_report_of_one_status_leaves_the_others_out(server: servers.Server, ended: str) -> None:
    answer = server.client.get(f"/v1/batches/{ended}/report?status=failed")

    assert len(answer.text.splitlines()) == 1


def test_the_archive_holds_every_result(server: servers.Server, ended: str) -> None:
    answer = server.client.get(f"/v1/batches/{ended}/results.zip")

    assert answer.headers["content-length"] == str(len(answer.content))
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "=1+1.txt": b"eno",
            "dir/c.txt": b"eerht",
        }


def test_a_broken_download_of_the_archive_goes_on_where_it_stopped(
    server: servers.Server, ended: str
) -> None:
    url = f"/v1/batches/{ended}/results.zip"
    whole = server.client.get(url)
    tag = whole.headers["etag"]

    first = server.client.get(url, headers={"Range": "bytes=0-99"})
    rest = server.client.get(url, headers={"Range": "bytes=100-", "If-Range": tag})

    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == whole.content
    assert server.client.head(url).headers["content-length"] == str(len(whole.content))


def test_a_running_batch_has_no_archive_yet(server: servers.Server) -> None:
    batch_id = server.send(b"one", keep_open=True)["id"]

    answer = server.client.get(f"/v1/batches/{batch_id}/results.zip")

    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def _process(server: servers.Server, body: bytes, **headers: Any) -> httpx.Response:
    return server.client.post(
        "/v1/process", files=[("files", ("a.txt", body))], data={"pipeline": "web"}, headers=headers
    )


def test_one_file_is_answered_directly(server: servers.Server) -> None:
    answer = _process(server, b"one")

    assert answer.status_code == 200
    assert answer.json()["status"] == "completed"
    assert server.client.get(answer.json()["outputs"][0]["url"]).content == b"eno"


def test_one_file_is_answered_with_its_bytes_where_json_is_not_wanted(
    server: servers.Server,
) -> None:
    answer = _process(server, b"one", Accept="image/*, text/plain")

    assert (answer.status_code, answer.content) == (200, b"eno")


def test_a_file_that_fails_is_answered_with_the_reason(server: servers.Server) -> None:
    as_json = _process(server, b"bad")
    as_bytes = _process(server, b"bad", Accept="image/*")

    assert as_json.json()["error"]["code"] == "unreadable_file"
    assert (as_bytes.status_code, as_bytes.json()["status"]) == (422, "failed")


def test_a_file_that_takes_longer_than_the_wait_becomes_a_batch(server: servers.Server) -> None:
    answer = _process(server, b"wait", Prefer="respond-async, wait=0")

    assert answer.status_code == 202
    batch_id = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/batches/{batch_id}"
    server.release()
    assert server.wait(batch_id)["status"] == "completed"


def test_more_than_one_file_is_not_processed_at_once(server: servers.Server) -> None:
    files = [("files", ("a", b"a")), ("files", ("b", b"b"))]

    answer = server.client.post("/v1/process", files=files, data={"pipeline": "web"})

    assert answer.status_code == 422


def test_a_plan_counts_and_names_what_will_not_work_and_keeps_nothing(
    server: servers.Server,
) -> None:
    before = server.client.get("/v1/queue").json()["counts"]["total"]
    files = [
        ("files", ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 90)),
        ("files", ("b.png", b"%PDF-1.7 no picture")),
    ]

    plan = server.client.post("/v1/plans", files=files, data={"pipeline": "web"}).json()

    assert (plan["files"], plan["bytes"]) == (2, 117)
    assert {each["type"] for each in plan["types"]} == {"image/png", "application/pdf"}
    assert len(plan["problems"]) == 1
    assert "application/pdf" in plan["problems"][0]
    assert server.client.get("/v1/queue").json()["counts"]["total"] == before


def test_a_plan_names_the_first_files_and_counts_an_archive_as_its_entries(
    server: servers.Server,
) -> None:
    archive = documents.zipped({"a/one.png": b"x", "two.pdf": b"yy", "three.JPG": b"zzz"})
    files = [("files", ("all.zip", archive))]

    plan = server.client.post("/v1/plans?sample=2", files=files, data={"pipeline": "web"}).json()

    refused = "resize does not take files of type application/pdf."
    assert (plan["files"], plan["bytes"]) == (3, 6)
    assert plan["sample"] == [
        {"name": "a/one.png", "type": "image/png", "bytes": 1, "problem": None},
        {"name": "two.pdf", "type": "application/pdf", "bytes": 2, "problem": refused},
    ]
    assert plan["problems"] == [f"1 file(s): {refused}"]


def test_a_batch_can_be_looked_at_as_a_plan(server: servers.Server) -> None:
    batch = server.send(b"wait", b"wait for me", keep_open=True)

    plan = server.client.get(f"/v1/batches/{batch['id']}/plan?sample=1").json()

    assert (plan["files"], plan["bytes"], len(plan["sample"])) == (2, 15, 1)
    assert plan["types"] == [{"type": "text/plain", "files": 2, "bytes": 15}]
    assert plan["pipeline"]["name"] == "web"
    server.client.post(f"/v1/batches/{batch['id']}/cancel")


def test_an_estimate_comes_from_files_that_went_through_the_same_steps(
    server: servers.Server,
) -> None:
    def planned(quality: int) -> Any:
        steps = [{"use": "compress", "with": {"quality": quality}}]
        body = {"pipeline": {"steps": steps}, "files": [{"name": "a.jpg", "bytes": 9}] * 5_000}
        return server.client.post("/v1/plans", json=body).json()["estimate"]

    sent = server.client.post(
        "/v1/batches",
        files=[("files", (f"{number}.txt", b"paid")) for number in range(4)],
        data={"pipeline": json.dumps({"steps": [{"use": "compress", "with": {"quality": 61}}]})},
    )
    server.wait(sent.json()["id"])

    found = planned(61)
    assert planned(62) is None
    assert (found["known_files"], found["slots"], found["cost_usd"]) == (4, 2, 10.0)
    assert 0 < found["low_seconds"] < found["high_seconds"] <= 3.1 * found["low_seconds"]


def test_a_batch_whose_files_still_arrive_is_no_plan_and_hinders_none(
    server: servers.Server,
) -> None:
    draft = submit.drafted(server.context, submit.Caller())
    batch_id = server.run(draft.__aenter__())

    of_draft = server.client.get(f"/v1/batches/{batch_id}/plan")
    other = server.client.post("/v1/plans", json={"pipeline": "web", "files": []})
    server.run(draft.__aexit__(None, None, None))
    server.client.delete(f"/v1/batches/{batch_id}")

    assert (of_draft.status_code, of_draft.json()["code"]) == (409, "conflict")
    assert other.status_code == 200


def test_a_plan_can_be_made_from_names_and_sizes(server: servers.Server) -> None:
    files = [{"name": "a.JPG", "bytes": 10**9}, {"name": "b.webp", "bytes": 1}]

    plan = server.client.post("/v1/plans", json={"pipeline": "web", "files": files}).json()

    assert plan["bytes"] == 10**9 + 1
    assert "over the limit" in plan["problems"][0]


def test_a_plan_of_an_impossible_pipeline_is_refused_as_the_batch_would_be(
    server: servers.Server,
) -> None:
    answer = server.client.post("/v1/plans", json={"pipeline": "wbe"})

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_name")
    assert "'web'" in answer.json()["detail"]
