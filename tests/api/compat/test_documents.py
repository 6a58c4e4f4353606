"""Reference 001, by its own requests and its own SQL: documents in, what they hold out."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ByteSize

from batchmill.settings.compat import DocumentsSettings
from batchmill.settings.fields import Settings
from support import whole_server
from support.documents import line_of_text, ods, pdf, sheet_data, xls, xlsx
from support.pictures import scene
from support.whole_server import WholeServer

CSV = b"dish;price\nsoup;4,50\nbread;2,00\n"
ROWS: list[list[object]] = [["dish", "price"], ["soup", 4.5], ["bread", 2]]
BROKEN = b"%PDF-1.7\nthis is no document at all\n"
RETRY = "UPDATE batch_files SET status='pending', retry_count=0 WHERE id='{}';"
COUNT = "SELECT COUNT(*) FROM batch_files WHERE status='{}';"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeServer]:
    settings = DocumentsSettings(uploads_per_hour=1_000, retries=0)
    with whole_server.running(tmp_path_factory.mktemp("documents"), documents=settings) as running:
        yield running


def upload(server: WholeServer, *files: tuple[str, bytes], **fields: str) -> httpx.Response:
    return server.client.post(
        "/api/batch/upload", files=[("file", file) for file in files], data=fields
    )


def ended(server: WholeServer, batch_id: str) -> Any:
    done = {"completed", "failed"}
    told = server.until(
        f"/api/batch/jobs/{batch_id}", lambda told: told["data"]["batch"]["status"] in done
    )
    return told["data"]


@pytest.fixture(scope="module")
def done(server: WholeServer) -> tuple[Any, Any]:
    """A batch of three documents of which one can't be read, once it has ended."""
    menu = pdf(line_of_text("Menu of the day: soup and bread"))
    files = (("menu1.pdf", menu), ("menu2.csv", CSV), ("menu3.pdf", BROKEN))
    sent = upload(server, *files, priority="high", user_id="user-123")
    assert sent.status_code == 200, sent.text
    return sent.json(), ended(server, sent.json()["data"]["batchId"])


def test_an_upload_answers_with_its_files(done: tuple[Any, Any]) -> None:
    told, _ = done

    assert told["success"] is True
    data = told["data"]
    assert set(data) == {"batchId", "totalFiles", "status", "files"}
    assert (data["totalFiles"], data["status"]) == (3, "pending")
    assert [file["filename"] for file in data["files"]] == ["menu1.pdf", "menu2.csv", "menu3.pdf"]
    assert data["files"][1]["fileSize"] == len(CSV)
    assert all(set(file) == {"id", "filename", "fileSize", "status"} for file in data["files"])


def test_a_job_has_its_batch_its_files_and_a_summary(done: tuple[Any, Any]) -> None:
    told, data = done

    batch = data["batch"]
    assert batch["id"] == told["data"]["batchId"]
    counted = {"total_files": 3, "processed_files": 3, "failed_files": 1, "progressPercent": 100}
    assert {name: batch[name] for name in counted} == counted
    assert (batch["status"], batch["priority"], batch["error"]) == ("completed", "high", None)
    for name in ("created_at", "started_at", "completed_at"):
        assert re.fullmatch(INSTANT, batch[name])
    summary = {"total": 3, "completed": 2, "processing": 0, "pending": 0, "failed": 1}
    assert data["summary"] == summary


def test_a_file_has_its_result_as_json_text(done: tuple[Any, Any]) -> None:
    menu, table, broken = done[1]["files"]

    assert (menu["status"], menu["progress"], menu["error"]) == ("completed", 100, None)
    assert json.loads(menu["result"])["document"]["kind"] == "pdf"
    assert json.loads(table["result"])["document"]["kind"] == "table"
    assert (table["file_size"], table["retry_count"]) == (len(CSV), 0)
    assert re.fullmatch(INSTANT, table["completed_at"])
    assert (broken["status"], broken["result"]) == ("failed", None)
    assert broken["error"].startswith("menu3.pdf cannot be read")


def test_what_was_made_of_a_file_can_be_downloaded(
    server: WholeServer, done: tuple[Any, Any]
) -> None:
    menu, *_ = done[1]["files"]

    texts = [
        server.client.get(file["url"]).text
        for file in json.loads(menu["result"])["files"]
        if file["name"].endswith(".txt")
    ]

    assert len(texts) == 1
    assert "Menu of the day" in texts[0]


def test_workbooks_of_every_kind_are_taken_whole(server: WholeServer) -> None:
    sheet = sheet_data(ROWS)
    files = (("a.xlsx", xlsx(sheet)), ("b.xls", xls([["dish", "price"], ["soup", 4.5]])))

    data = ended(server, upload(server, *files).json()["data"]["batchId"])

    assert data["summary"]["total"] == 2
    assert [file["status"] for file in data["files"]] == ["completed", "completed"]


def test_jobs_are_listed_newest_first_and_filtered(
    server: WholeServer, done: tuple[Any, Any]
) -> None:
    newer = upload(server, ("later.csv", CSV), user_id="user-9").json()["data"]["batchId"]
    ended(server, newer)
    older = done[0]["data"]["batchId"]

    told = server.client.get("/api/batch/jobs?limit=10&status=completed").json()
    assert told["success"] is True
    ids = [job["id"] for job in told["data"]]
    assert ids.index(newer) < ids.index(older)
    assert set(told["data"][0]) == {
        *("id", "status", "total_files", "processed_files", "failed_files", "priority"),
        *("created_at", "started_at", "completed_at", "error"),
    }

    def listed(query: str) -> list[Any]:
        return [job["id"] for job in server.client.get(f"/api/batch/jobs?{query}").json()["data"]]

    assert listed("userId=user-123") == [older]
    assert listed("userId=user-9") == [newer]
    assert listed("limit=1") == ids[:1]
    assert listed("limit=1&offset=1") == ids[1:2]
    assert listed("status=processing") == []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("fake.pdf", bytes(scene(8, 8).pngsave_buffer())),
        ("notes.txt", b"only some words without any table in them"),
        ("nothing.csv", b"\0\1\2\3"),
    ],
)
def test_other_types_are_refused_by_content_and_named(
    server: WholeServer, name: str, body: bytes
) -> None:
    answer = upload(server, ("good.csv", CSV), (name, body))

    assert answer.status_code == 415
    told = answer.json()
    assert (told["success"], told["code"]) == (False, "wrong_file_type")
    assert told["error"].startswith(f"{name} is ")


def test_a_csv_under_another_name_and_one_of_a_single_column_are_taken(server: WholeServer) -> None:
    answer = upload(server, ("table.dat", CSV), ("names.csv", b"name\nAnna\nBert\n"))

    assert answer.status_code == 200


@pytest.mark.parametrize("query", ["limit=0", "offset=-1", "status=odd", "limit=many"])
def test_a_wrong_query_is_answered_in_the_shape_of_the_document(
    server: WholeServer, query: str
) -> None:
    answer = server.client.get(f"/api/batch/jobs?{query}")

    assert answer.status_code == 422
    assert set(answer.json()) == {"success", "error", "code"}


def test_a_priority_that_is_none_is_refused(server: WholeServer) -> None:
    answer = upload(server, ("a.csv", CSV), priority="urgent")

    assert (answer.status_code, answer.json()["success"]) == (422, False)


def test_the_fourth_upload_of_an_hour_is_refused(tmp_path: Path) -> None:
    with whole_server.running(tmp_path, with_worker=False) as server:
        answers = [upload(server, ("a.csv", CSV)) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[3].headers["retry-after"]) <= 3_600
    assert answers[3].json() == {
        "success": False,
        "error": "No more than 3 submissions in 60 minutes; try again in 60 minutes. A key of the"
        " tier premium lifts this limit, and BATCHMILL_DOCUMENTS_UPLOADS_PER_HOUR raises it.",
        "code": "rate_limited",
    }


def test_an_upload_that_is_refused_uses_none_of_the_three(tmp_path: Path) -> None:
    small = DocumentsSettings(file_bytes=ByteSize(1_000))
    with whole_server.running(tmp_path, with_worker=False, documents=small) as server:
        picture = bytes(scene(4, 4).pngsave_buffer())
        refused = [
            upload(server, ("a.pdf", picture)),
            upload(server, ("a.csv", b"a;b\n" * 1_000)),
            upload(server),
            upload(server, ("a.csv", CSV), priority="urgent"),
        ]
        taken = [upload(server, ("a.csv", CSV)) for _ in range(4)]

    assert [answer.status_code for answer in refused] == [415, 413, 400, 422]
    assert refused[1].json()["error"] == (
        "a.csv is larger than the limit of 1 kB; make it smaller, or raise"
        " BATCHMILL_DOCUMENTS_FILE_BYTES."
    )
    assert [answer.status_code for answer in taken] == [200, 200, 200, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in taken[:3]] == ["2", "1", "0"]


def test_a_file_that_is_merely_broken_is_not_tried_again(tmp_path: Path) -> None:
    with whole_server.running(tmp_path) as server:
        sent = upload(server, ("menu.pdf", BROKEN)).json()
        (file,) = ended(server, sent["data"]["batchId"])["files"]

    assert (file["status"], file["retry_count"]) == ("failed", 0)


def test_the_log_says_how_many_files_are_processed_each_time_a_batch_begins(
    tmp_path: Path, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    files = (("menu1.csv", CSV), ("menu2.csv", CSV), ("menu3.pdf", BROKEN))
    with whole_server.running(tmp_path) as server:
        batch_id = upload(server, *files).json()["data"]["batchId"]
        ended(server, batch_id)
        server.client.post(f"/v1/batches/{batch_id}/retry")
        ended(server, batch_id)

    begun = [line for line in log_lines() if "Queue" in json.dumps(line)]
    assert [line["message"] for line in begun] == [
        "[Queue] Processing 3 files...",
        "[Queue] Processing 1 file...",
    ]
    assert {(line["event"], line["batch"]) for line in begun} == {("batch.started", batch_id)}


def test_uploads_can_be_switched_off(tmp_path: Path) -> None:
    off = DocumentsSettings(enabled=False)
    with whole_server.running(tmp_path, with_worker=False, documents=off) as server:
        assert upload(server, ("a.csv", CSV)).status_code == 403


def test_a_batch_survives_a_restart(tmp_path: Path) -> None:
    with whole_server.running(tmp_path, with_worker=False) as server:
        batch_id = upload(server, ("a.csv", CSV)).json()["data"]["batchId"]
        waiting = server.client.get(f"/api/batch/jobs/{batch_id}").json()["data"]

    with whole_server.running(tmp_path) as server:
        data = ended(server, batch_id)

    assert (waiting["batch"]["status"], waiting["summary"]["pending"]) == ("pending", 1)
    assert data["summary"]["completed"] == 1


# ---------------------------------------------------------------- the document's SQL


def query(server: WholeServer, sql: str, *values: object) -> list[Any]:
    path = Settings(data_dir=server.context.settings.data_dir).database.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as conn:
        rows = conn.execute(sql, values).fetchall()
        conn.commit()
        return rows


@pytest.mark.parametrize("status", ["processing", "pending", "failed"])
def test_the_documents_sql_counts_files(
    server: WholeServer, done: tuple[Any, Any], status: str
) -> None:
    ((number,),) = query(server, COUNT.format(status))

    assert number == (1 if status == "failed" else 0)


def test_the_documents_sql_shows_recent_batches(server: WholeServer, done: tuple[Any, Any]) -> None:
    told, data = done
    rows = query(
        server,
        """
  SELECT id, status, total_files, processed_files, failed_files, created_at
  FROM batch_jobs
  ORDER BY created_at DESC
  LIMIT 10;
""",
    )

    batch_id = told["data"]["batchId"]
    (row,) = [row for row in rows if row[0] == batch_id]
    assert row == (batch_id, "completed", 3, 3, 1, data["batch"]["created_at"])
    assert query(server, "SELECT user_id, priority FROM batch_jobs WHERE id=?", batch_id) == [
        ("user-123", "high")
    ]


def test_the_documents_sql_averages_retries(server: WholeServer, done: tuple[Any, Any]) -> None:
    rows = query(server, "SELECT AVG(retry_count) FROM batch_files WHERE status='failed';")

    assert rows == [(0.0,)]


def test_the_rows_of_the_views_say_what_the_api_says(
    server: WholeServer, done: tuple[Any, Any]
) -> None:
    columns = """SELECT id, filename, file_size, status, progress, error, retry_count,
        created_at, started_at, completed_at, result FROM batch_files WHERE id=?"""
    files = done[1]["files"]
    rows = [row for file in files for row in query(server, columns, file["id"])]
    told = [[file[name] for name in file if name != "result"] for file in files]
    results = [json.loads(row[-1]).items() if row[-1] else () for row in rows]

    assert [list(row[:-1]) for row in rows] == told
    assert [bool(each) for each in results] == [True, True, False]
    assert all(
        result <= json.loads(file["result"]).items()
        for file, result in zip(files, results, strict=True)
        if result
    )


def test_the_documents_sql_orders_by_priority(tmp_path: Path) -> None:
    settings = DocumentsSettings(uploads_per_hour=10)
    with whole_server.running(tmp_path, with_worker=False, documents=settings) as server:
        for priority in ("low", "normal", "high"):
            upload(server, (f"{priority}.csv", CSV), priority=priority)
        rows = query(
            server,
            """
SELECT * FROM batch_files
WHERE status = 'pending'
ORDER BY
  CASE priority
    WHEN 'high' THEN 1
    WHEN 'normal' THEN 2
    WHEN 'low' THEN 3
  END,
  created_at ASC
LIMIT ?
""",
            3,
        )

    assert [row[2] for row in rows] == ["high.csv", "normal.csv", "low.csv"]


def test_the_documents_sql_retries_a_failed_file(tmp_path: Path) -> None:
    settings = DocumentsSettings(retries=0)
    with whole_server.running(tmp_path, documents=settings) as server:
        batch_id = upload(server, ("a.csv", CSV), ("b.pdf", BROKEN)).json()["data"]["batchId"]
        good, bad = ended(server, batch_id)["files"]
        query(
            server,
            RETRY.format(bad["id"]),
        )
        again = server.until(
            f"/api/batch/jobs/{batch_id}",
            lambda told: (
                told["data"]["files"][1]["started_at"] != bad["started_at"]
                and told["data"]["batch"]["completed_at"]
            ),
        )["data"]
        native = server.client.get(f"/v1/batches/{batch_id}").json()
        (group,) = server.client.get(f"/v1/batches/{batch_id}/errors").json()["data"]
        query(
            server,
            RETRY.format(good["id"]),
        )
        untouched = server.client.get(f"/v1/batches/{batch_id}").json()

    assert again["summary"] == {
        "total": 2,
        "completed": 1,
        "processing": 0,
        "pending": 0,
        "failed": 1,
    }
    assert again["files"][0] == good
    assert (native["run"], native["counts"]["total"]) == (2, 2)
    assert native["progress"]["percent"] == 100
    assert group["count"] == 1
    assert untouched == native


def test_ods_is_taken_by_its_content(server: WholeServer) -> None:
    table = (
        '<table:table table:name="menu"><table:table-row>'
        '<table:table-cell office:value-type="string"><text:p>dish</text:p></table:table-cell>'
        "</table:table-row></table:table>"
    )

    answer = upload(server, ("menu.bin", ods(table)))

    assert answer.status_code == 200
