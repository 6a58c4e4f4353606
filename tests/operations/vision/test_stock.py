"""The CSV that stock agencies take: from the server, from a run, and its rows."""

import csv
import io
from pathlib import Path
from typing import Any

from batchmill.operations.vision import stock
from support import whole_server
from support.pictures import scene
from support.vision_server import RIGHT, VisionServer

HEAD = "Filename,Title,Keywords,Category,Releases"
HOSTILE = {**RIGHT, "title": "=HYPERLINK(1), click", "keywords": ["@home", "a, b"]}


def test_a_row_has_the_agencys_columns() -> None:
    row = stock.row("shop/red bike.jpg", {**RIGHT, "title": "Red, rusty bike " + "very " * 40})

    assert row is not None
    assert row[0] == "red bike.jpg"
    assert row[1].startswith("Red rusty bike very")
    assert len(row[1]) <= 70
    assert row[2:] == ("bicycle, red, wall, sun", "20", "")


def test_what_was_not_described_has_no_row() -> None:
    assert stock.row("a.jpg", {}) is None
    assert stock.row("a.jpg", {"title": "A file of another kind"}) is None


def test_a_category_of_ones_own_has_no_number() -> None:
    row = stock.row("a.jpg", {**RIGHT, "category": "Bicycles"})
    assert row is not None
    assert row[3] == ""


def test_the_servers_report_has_described_files_only_and_no_formula(
    tmp_path: Path, vision: VisionServer
) -> None:
    scene(64, 64).write_to_file(str(tmp_path / "a.jpg"))
    picture = (tmp_path / "a.jpg").read_bytes()
    vision.right = HOSTILE
    vision.then("refusal")
    model: dict[str, Any] = {"llm_api_key": "sk-a-made-up-key", "llm_base_url": vision.url}

    with whole_server.running(tmp_path / "data", **model) as server:
        files = [("files", (name, picture)) for name in ("x.jpg", "y.jpg")]
        data = {"pipeline": "describe", "options": '{"concurrency": 1}'}
        batch_id = server.client.post("/v1/batches", files=files, data=data).json()["id"]
        server.until(f"/v1/batches/{batch_id}", lambda batch: batch["ended_at"] is not None)
        answer = server.client.get(f"/v1/batches/{batch_id}/report", params={"format": "stock"})

    assert answer.headers["content-type"].startswith("text/csv")
    assert ".stock.csv" in answer.headers["content-disposition"]
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert ",".join(head) == HEAD
    assert rows == [["y.jpg", "'=HYPERLINK(1) click", "'@home, a  b", "20", ""]]
