"""What a log line looks like, and what must never stand in one."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from batchmill import logs
from batchmill.logs import Event
from support.processes import serving

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    stream = io.StringIO()
    logs.set_up(style="json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_a_line_is_one_json_object_that_starts_with_time_level_and_event(lines: Lines) -> None:
    logs.info(Event.BATCH_ACCEPTED, items=3)

    (line,) = lines()
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["level"], line["event"], line["items"]) == ("info", "batch.accepted", 3)


def test_a_server_logs_its_limits_when_it_starts(tmp_path: Path) -> None:
    limits = {"MAX_CONCURRENT_JOBS": "5", "JOB_TIMEOUT_MS": "7000", "CONCURRENT_JOBS": "2"}
    with serving(tmp_path / "data", "-j", "1", **limits):
        written = (tmp_path / "server.log").read_text().splitlines()

    told = {line["of"]: line for line in map(json.loads, written) if line["event"] == "limits"}
    assert told["process"]["children"] == 1
    assert (told["images"]["concurrency"], told["images"]["timeout_ms"]) == (5, 7_000)
    assert told["documents"]["concurrency"] == 2
    assert {"sequential", "photos"} <= set(told)


def test_bound_ids_stand_in_every_line_of_the_block_and_in_none_after_it(lines: Lines) -> None:
    with logs.bound(batch_id="bat_1"):
        logs.warning(Event.ITEM_FAILED)
    logs.info(Event.BATCH_ENDED)

    assert [line.get("batch_id") for line in lines()] == ["bat_1", None]


@pytest.mark.parametrize(
    ("fields", "secret"),
    [
        ({"url": "postgresql://me:hunter2@db/mill"}, "hunter2"),
        ({"url": "https://mill/o/1?expires=9&sig=c2lnbmVk#top"}, "c2lnbmVk"),
        ({"url": "https://b.s3/x?X-Amz-Signature=abc123&a=1"}, "abc123"),
        ({"message": "Authorization: Bearer abc.def-123"}, "abc.def-123"),
        ({"message": "refused sk-abcdefgh12345678"}, "abcdefgh12345678"),
        ({"api_key": "hunter2"}, "hunter2"),
        ({"headers": {"a": ["Basic aHVudGVyMg=="]}}, "aHVudGVyMg"),
    ],
)
def test_a_secret_is_blotted_out_wherever_it_stands(
    lines: Lines, fields: dict[str, Any], secret: str
) -> None:
    logs.error(Event.INTERNAL_ERROR, **fields)

    (line,) = lines()
    assert secret not in json.dumps(line)
    assert "***" in json.dumps(line)


def test_a_secret_in_a_traceback_is_blotted_out(lines: Lines) -> None:
    try:
        int("redis://:hunter2@cache:6379")
    except ValueError:
        logs.error(Event.WORKER_SILENT, exc_info=True)

    assert "ValueError" in lines()[0]["exception"]
    assert "hunter2" not in lines()[0]["exception"]


def test_a_library_is_heard_from_warning_on_under_one_event(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    logging.getLogger("uvicorn.error").info("chatter")

    (line,) = lines()
    assert line["event"] == "library.message"
    assert (line["logger"], line["message"]) == ("uvicorn.error", "slow client")


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_file_name_can_neither_move_the_cursor_nor_forge_a_line(style: logs.Format) -> None:
    stream = io.StringIO()
    logs.set_up(style=style, stream=stream)
    logs.info(Event.ITEM_FINISHED, file="a\x1b[2J\x9b2J\nevent=batch.deleted\u202ecod.exe")
    structlog.reset_defaults()

    assert stream.getvalue().count("\n") == 1
    assert not set("\x1b\x9b\u202e") & set(stream.getvalue())


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logs.set_up(level="warning", style="json", stream=stream)
    logs.info(Event.BATCH_ACCEPTED)
    structlog.reset_defaults()

    assert stream.getvalue() == ""


def test_the_library_writes_nothing_into_a_program_that_did_not_set_logs_up() -> None:
    code = "from batchmill import logs; logs.error(logs.Event.INTERNAL_ERROR)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert done.stdout + done.stderr == b""


def test_every_event_says_what_it_means() -> None:
    assert all(event.meaning.endswith(".") for event in Event)
    assert len({event.meaning for event in Event}) == len(Event)
