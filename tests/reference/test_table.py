"""The table of the reference documents' rows: what a run of tests makes of its reports."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from support.reference_rows import (
    DOCUMENTS,
    FAILED,
    PARTLY,
    UNTRIED,
    WORKS,
    Row,
    Tried,
    brief,
    collected,
    table,
)

Outcome = Any
BARE = Tried(3, "004 Image server", "API: stats", "every number")
SAID: dict[str, Any] = {
    "call": "GET /api/stats",
    "came": '{"a|b": 1}',
    "verdict": PARTLY,
    "why": "one is missing",
}


def report(
    outcome: Outcome, longrepr: Any = None, *, place: int = 3, when: Any = "call", **said: Any
) -> pytest.TestReport:
    properties: list[tuple[str, object]] = [("row", {**asdict(BARE), "place": place})]
    if said:
        properties.append(("said", said))
    where = ("tests/reference/test_x.py", 1, "test_x")
    return pytest.TestReport("x", where, {}, outcome, longrepr, when, user_properties=properties)


def test_rows_come_in_the_order_of_their_modules_with_what_was_said() -> None:
    rows = collected([report("passed", **SAID), report("passed", place=1, **SAID)])

    assert [each.place for each in rows] == [1, 3]
    assert (rows[0].call, rows[0].verdict, rows[0].why) == (
        "GET /api/stats",
        PARTLY,
        "one is missing",
    )


def test_a_row_whose_test_fails_is_failed_whatever_it_said_before() -> None:
    ways = [report("passed", **SAID), report("failed", "E  it broke", when="teardown", **SAID)]

    for reports in (ways, ways[::-1]):
        (row,) = collected(reports)
        assert (row.verdict, row.why) == (FAILED, "E it broke")


def test_a_row_whose_part_is_missing_was_not_tried_and_says_why() -> None:
    reason = "Skipped: MariaDB is missing: start it"
    skipped = report("skipped", ("x", 1, reason), when="setup")
    (row,) = collected([skipped, report("passed", when="teardown")])

    assert (row.verdict, row.why) == (UNTRIED, "MariaDB is missing: start it")


def test_rows_that_are_left_to_the_long_ring_are_no_rows() -> None:
    reason = "Skipped: left to the long ring: make test-all"

    skipped = report("skipped", ("x", 1, reason), when="setup")
    assert not collected([skipped, report("passed", when="teardown")])


def test_the_table_counts_its_rows_and_keeps_its_columns() -> None:
    text = table(collected([report("passed", **SAID), report("failed", "E", place=4)]))

    assert "2 rows: 1 partly, 1 FAILED." in text
    assert r'| GET /api/stats | {"a\|b": 1} | **partly**: one is missing |' in text


def test_what_came_back_is_one_short_line() -> None:
    assert brief({"a": "b"}) == '{"a": "b"}'
    assert brief("a\n  b") == "a b"
    assert len(brief("x" * 5_000)) < 300


def test_what_does_not_wholly_work_says_why(request: pytest.FixtureRequest) -> None:
    row = Row(request.node)

    with pytest.raises(AssertionError, match="reason"):
        row("GET /", "503", PARTLY)
    with pytest.raises(AssertionError, match="reason"):
        row("GET /", "200", WORKS, why="but")
    assert not row.said


def test_every_module_of_rows_has_its_document() -> None:
    modules = {path.stem for path in Path(__file__).parent.glob("test_*.py")}

    assert modules - {Path(__file__).stem} == set(DOCUMENTS)
