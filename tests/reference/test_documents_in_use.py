"""Document 001, row by row: its SQL, its security, and several servers."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import databases
from reference.documents import (
    BROKEN,
    COLUMNS,
    CSV,
    JOB,
    MANY,
    MENU,
    UPLOAD,
    done,
    ended,
    idle,
    picked,
    server,
    started,
    upload,
)
from support import preloaded
from support.documents import ods, sheet_data, xls, xlsx
from support.environment import environment
from support.pictures import scene
from support.processes import Process, serving
from support.reference_rows import NOT, Row

__all__ = ["done", "idle", "server"]

pytestmark = [pytest.mark.long]
RECENT = """
  SELECT id, status, total_files, processed_files, failed_files, created_at
  FROM batch_jobs
  ORDER BY created_at DESC
  LIMIT 10;
"""
QUEUED = """
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
"""
CELLS: list[list[object]] = [["dish", "price"], ["soup", 4.5], ["bread", 2]]
ODS_TABLE = (
    '<table:table table:name="menu"><table:table-row>'
    '<table:table-cell office:value-type="string"><text:p>dish</text:p></table:table-cell>'
    "</table:table-row></table:table>"
)
TYPES = {
    "menu.pdf": MENU,
    "menu.xlsx": xlsx(sheet_data(CELLS)),
    "menu.xls": xls([["dish", "price"], ["soup", 4.5]]),
    "menu.ods": ods(ODS_TABLE),
    "menu.csv": CSV,
}


# ---------------------------------------------------------------- SQL


@pytest.mark.row("Schema", "table {table} with its columns")
@pytest.mark.parametrize("table", COLUMNS)
@pytest.mark.usefixtures("done")
def test_the_tables_have_their_columns(row: Row, server: Process, table: str) -> None:
    sql = f"SELECT {', '.join(COLUMNS[table])} FROM {table} LIMIT 1"  # noqa: S608
    (found,) = server.query(sql)

    assert list(found) == COLUMNS[table]
    row(sql, found)


@pytest.mark.row("Monitoring", "SELECT COUNT(*) … status='{status}'")
@pytest.mark.parametrize("status", ["processing", "pending", "failed"])
def test_files_are_counted(row: Row, idle: Process, status: str) -> None:
    started(idle, ("a.csv", CSV), ("b.pdf", BROKEN))
    sql = f"SELECT COUNT(*) FROM batch_files WHERE status='{status}';"  # noqa: S608
    before = idle.query(sql)
    idle.client.post("/v1/queue/resume")
    idle.until("/api/batch/jobs", lambda told: told["data"][0]["status"] == "completed")
    after = idle.query(sql)

    counted = [each["COUNT(*)"] for each in (*before, *after)]
    assert counted == {"processing": [0, 0], "pending": [2, 0], "failed": [0, 1]}[status]
    row(sql, f"{counted[0]} before, {counted[1]} after")


@pytest.mark.row("Monitoring", "recent batches")
def test_recent_batches_are_shown(row: Row, server: Process, done: Any) -> None:
    found = server.query(RECENT)

    (own,) = [each for each in found if each["id"] == done["batch"]["id"]]
    assert (own["status"], own["total_files"], own["failed_files"]) == ("completed", 3, 1)
    row(RECENT, own)


@pytest.mark.row("Queue", "the SQL of the queue: by priority, then the oldest")
def test_the_queue_is_ordered_by_priority(row: Row, idle: Process) -> None:
    for priority in ("low", "normal", "high"):
        started(idle, (f"{priority}.csv", CSV), priority=priority)
    names = [each["filename"] for each in idle.query(QUEUED, 3)]

    assert names == ["high.csv", "normal.csv", "low.csv"]
    row(QUEUED, names)


@pytest.mark.row("Troubleshooting", "UPDATE batch_files SET status='pending', retry_count=0 …")
def test_a_failed_file_is_tried_again_by_sql(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **MANY) as server:
        batch_id = started(server, ("a.csv", CSV), ("b.pdf", BROKEN))
        bad = ended(server, batch_id)["files"][1]
        sql = f"UPDATE batch_files SET status='pending', retry_count=0 WHERE id='{bad['id']}';"  # noqa: S608
        server.query(sql)
        again = server.until(
            f"/api/batch/jobs/{batch_id}",
            lambda told: (
                told["data"]["files"][1]["started_at"] != bad["started_at"]
                and told["data"]["batch"]["completed_at"]
            ),
        )["data"]["files"][1]

    assert again["started_at"] > bad["started_at"]
    row(sql, {"first": bad["started_at"], "again": again["started_at"], "now": again["status"]})


@pytest.mark.row("Troubleshooting", "SELECT AVG(retry_count) … failed")
def test_retries_are_averaged(row: Row, server: Process, done: Any) -> None:
    sql = "SELECT AVG(retry_count) FROM batch_files WHERE status='failed';"
    (found,) = server.query(sql)

    assert found["AVG(retry_count)"] is not None
    row(sql, found)


@pytest.mark.row("Troubleshooting", "the log says: [Queue] Processing 3 files...")
def test_the_log_says_that_the_queue_moves(row: Row, server: Process, done: Any) -> None:
    own = [each for each in server.log() if each.get("batch") == done["batch"]["id"]]
    said = [each["message"] for each in own if "[Queue]" in each.get("message", "")]

    assert said[0] == "[Queue] Processing 3 files..."
    row("the server's log | grep Queue", said)


# ---------------------------------------------------------------- rate, security, scaling


@pytest.mark.row("Security", "3 uploads an hour: the fourth is refused")
def test_the_fourth_upload_of_an_hour_is_refused(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        answers = [upload(server, ("a.csv", CSV)) for _ in range(4)]

    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    assert 0 < int(answers[3].headers["retry-after"]) <= 3_600
    after = answers[3].headers["retry-after"]
    row(f"4 × {UPLOAD}", f"200, 200, 200, 429 Retry-After: {after} {answers[3].text}")


@pytest.mark.row("Security", "an upload that is refused takes nothing of the quota")
def test_a_refused_upload_uses_no_quota(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        wrong = [upload(server, ("a.csv", b"\0\1\2")).status_code for _ in range(3)]
        right = upload(server, ("a.csv", CSV)).status_code

    assert (wrong, right) == ([415] * 3, 200)
    row(f"3 × {UPLOAD} of a wrong type, then a right one", f"{wrong}, then {right}")


@pytest.mark.row("Security", "PDF, Excel and CSV: {name} is taken")
@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_taken(row: Row, server: Process, name: str) -> None:
    (file,) = ended(server, started(server, (name, TYPES[name])))["files"]

    assert file["status"] == "completed"
    row(f"{UPLOAD} of {name}", picked(file, "filename", "status", "result"))


@pytest.mark.row("Security", "any other type is refused by its content")
def test_another_type_is_refused(row: Row, server: Process) -> None:
    picture = bytes(scene(8, 8).pngsave_buffer())
    sent = upload(server, ("good.csv", CSV), ("fake.pdf", picture))

    assert sent.status_code == 415
    assert "fake.pdf" in sent.json()["error"]
    row(f"{UPLOAD} of a PNG called fake.pdf", f"415 {sent.text}")


@pytest.mark.row("Security", "users sign in: without a key nobody, with one its owner alone")
def test_keys_are_required_where_asked(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", BATCHMILL_ANONYMOUS="off") as server:
        made = ["keys", "create", "--name", "a", "--owner", "anna", "--data-dir", server.data_dir]
        key = preloaded.run(made, env=environment(), cwd=tmp_path).stdout.strip()
        without = upload(server, ("a.csv", CSV)).status_code
        server.client.headers["X-API-Key"] = key
        with_key = upload(server, ("a.csv", CSV)).status_code

    assert (without, with_key) == (401, 200)
    row("BATCHMILL_ANONYMOUS=off; without and with X-API-Key", f"{without}, {with_key}")


@pytest.mark.row("Best practices", "poll as often as you like: reading is not limited")
def test_reading_is_not_limited(row: Row, server: Process, done: Any) -> None:
    path = f"/api/batch/jobs/{done['batch']['id']}"
    codes = {server.client.get(path).status_code for _ in range(300)}

    assert codes == {200}
    row(f"300 × {JOB}", "200 each time")


@pytest.mark.row("Best practices", "old jobs are cleaned up")
def test_old_jobs_go(row: Row, server: Process) -> None:
    batch_id = started(server, ("a.csv", CSV))
    ended(server, batch_id)
    expires = server.client.get(f"/v1/batches/{batch_id}").json()["expires_at"]
    deleted = server.client.delete(f"/v1/batches/{batch_id}").status_code
    after = server.client.get(f"/api/batch/jobs/{batch_id}").status_code

    assert expires
    assert (deleted, after) == (204, 404)
    row(
        "expires_at (BATCHMILL_RETENTION_S, 7 days); DELETE /v1/batches/:id",
        f"expires_at {expires}; 204, then 404",
    )


@pytest.mark.row("Scaling", "more servers share the SQLite database")
def test_a_second_server_on_sqlite(row: Row, tmp_path: Path) -> None:
    call = "two `batchmill serve` on one data folder"
    with serving(tmp_path / "data", **MANY) as one:
        batch_id = started(one, ("a.csv", CSV))
        asked = ["serve", "--port", "0", "--data-dir", tmp_path / "data"]
        second = preloaded.run(asked, env=environment(), cwd=tmp_path)
        told = ended(one, batch_id)["summary"]

    assert told["completed"] == 1
    assert second.returncode == 2
    row(call, second.stderr, NOT, why="several servers need a database that serves several")


@pytest.mark.row("Scaling", "more servers, on a database that serves several")
def test_two_servers_share_a_database(row: Row, tmp_path: Path) -> None:
    with databases.new_url("postgresql", tmp_path) as url:
        env = {**MANY, "BATCHMILL_CHILDREN": "1", "BATCHMILL_DATABASE_URL": url}
        with serving(tmp_path / "data", **env) as one, serving(tmp_path / "data", **env) as other:
            batch_id = started(one, *[(f"{n}.csv", CSV) for n in range(8)])
            seen = ended(other, batch_id)["summary"]
            workers = one.client.get("/v1/workers").json()["data"]

    assert (seen["completed"], len(workers)) == (8, 2)
    row("BATCHMILL_DATABASE_URL=postgresql://…; two servers, sent to one, asked at the other", seen)


@pytest.mark.row("Performance", "36 files a minute at 5 s a file, 3 at once")
def test_the_throughput_is_measured(row: Row, tmp_path: Path) -> None:
    with serving(tmp_path / "data", **MANY) as server:
        done = ended(server, started(server, *[(f"{n}.pdf", MENU) for n in range(50)]))
        sql = """SELECT COUNT(*) AS files,
            round((julianday(MAX(completed_at)) - julianday(MIN(started_at))) * 86400, 2) AS seconds
            FROM batch_files"""
        (found,) = server.query(sql)

    assert done["summary"]["completed"] == found["files"] == 50
    row("50 small PDFs, 3 at once", found)


@pytest.mark.row("Monitoring", "the file that sqlite3 opens")
def test_the_database_is_a_file(row: Row, server: Process) -> None:
    path = server.data_dir / "batchmill.sqlite3"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as conn:
        ((number,),) = conn.execute("SELECT COUNT(*) FROM batch_jobs").fetchall()

    assert number > 0
    row(f"sqlite3 {path.name}", f"{number} batches")
