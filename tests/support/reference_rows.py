"""Rows of the five reference documents: what was called, what came back, and the table of all.

A plugin of pytest. A test is a row when it bears the mark `row` with its part of the document and
what stands there, and says through the fixture `row` what it called and what came back. At the end
of a run `build/reference-rows.md` has the table of all rows that were tried.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from support import ring

TABLE = Path(__file__).parents[2] / "build" / "reference-rows.md"
WORKS, PARTLY, NOT, UNTRIED = "works", "partly", "not", "not tried here"
FAILED = "FAILED"
DOCUMENTS = {
    "test_sequential": "000 Sequential processing",
    "test_sequential_runs": "000 Sequential processing",
    "test_documents": "001 Batch processing system",
    "test_documents_in_use": "001 Batch processing system",
    "test_photos": "002 Production batch pipeline",
    "test_photo_workers": "002 Production batch pipeline",
    "test_deployment": "002 Production batch pipeline",
    "test_library": "003 Parallel processing orchestration",
    "test_image_server": "004 Image server with job queue",
    "test_image_clients": "004 Image server with job queue",
}
LONGEST = 220


@dataclass(frozen=True, slots=True)
class Tried:
    """One row of the table; `place` orders the rows as the modules have them."""

    place: int
    document: str
    part: str
    what: str
    call: str = ""
    came: str = ""
    verdict: str = FAILED
    why: str = ""


class Row:
    """What a test says of its row; once, and after its assertions."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node
        self.said = False

    def __call__(self, call: str, came: object, verdict: str = WORKS, *, why: str = "") -> None:
        assert verdict in {WORKS, PARTLY, NOT, UNTRIED}, verdict
        assert bool(why) == (verdict != WORKS), "what does not wholly work needs its reason"
        said = {"call": call, "came": brief(came), "verdict": verdict, "why": why}
        self._node.user_properties.append(("said", said))
        self.said = True


def brief(came: object) -> str:
    """Write what came back in one short line."""
    text = came if isinstance(came, str) else json.dumps(came, ensure_ascii=False, default=str)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    """Take what the test says of its row; a test that says nothing fails."""
    row = Row(request.node)
    yield row
    assert row.said or not request.node.stash.get(PASSED, False), "a row must say what came back"


PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(part, what): a row of a reference document")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Number the rows, and let every report of a test bear its row."""
    for place, item in enumerate(items):
        if mark := item.get_closest_marker("row"):
            document = DOCUMENTS[item.path.stem]
            part, what = mark.args
            named = what.format(**item.callspec.params) if hasattr(item, "callspec") else what
            item.user_properties.append(("row", asdict(Tried(place, document, part, named))))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let the fixture know whether the test passed."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.when == "call":
        item.stash[PASSED] = report.passed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the table of this run's rows, and print it."""
    every = (report for each in terminalreporter.stats.values() for report in each)
    rows = collected(each for each in every if isinstance(each, pytest.TestReport))
    if not rows:
        return
    text = table(rows)
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text, encoding="utf-8")
    terminalreporter.section("rows of the reference documents")
    terminalreporter.write_line(text if ring.ALL else counts(rows))
    terminalreporter.write_line(f"The table lies at {TABLE}.")


def collected(reports: Iterable[pytest.TestReport]) -> Sequence[Tried]:
    """Return the rows that reports bear, in their order; one whose test failed is FAILED."""
    found: dict[int, Tried] = {}
    for report in reports:
        properties: dict[str, Any] = dict(report.user_properties)
        if "row" not in properties or not _tells(report, properties):
            continue
        bare = Tried(**properties["row"])
        before = found.get(bare.place)
        if before is None or before.verdict != FAILED:
            found[bare.place] = replace(bare, **_outcome(report, properties))
    return [found[place] for place in sorted(found)]


def _tells(report: Any, properties: Mapping[str, Any]) -> bool:
    """Say whether a report is about its row: not that of a setup, nor of one left out."""
    if report.skipped:
        return "long ring" not in report.longrepr[2]
    return report.failed or "said" in properties


def _outcome(report: Any, properties: Mapping[str, Any]) -> Mapping[str, Any]:
    if report.failed:
        return {"verdict": FAILED, "why": brief(report.longreprtext.strip().splitlines()[-1])}
    if report.skipped:
        return {"verdict": UNTRIED, "why": report.longrepr[2].removeprefix("Skipped: ")}
    said: Mapping[str, Any] = properties["said"]
    return said


def counts(rows: Sequence[Tried]) -> str:
    """Return how many rows have each verdict."""
    by_verdict = Counter(each.verdict for each in rows)
    order = [each for each in (WORKS, PARTLY, NOT, UNTRIED, FAILED) if by_verdict[each]]
    return f"{len(rows)} rows: " + ", ".join(f"{by_verdict[each]} {each}" for each in order)


def table(rows: Sequence[Tried]) -> str:
    """Write the rows as Markdown, one table for each document."""
    lines = ["# The five reference documents, row by row", "", f"{counts(rows)}.", ""]
    for document in sorted({each.document for each in rows}):
        own = [each for each in rows if each.document == document]
        lines += [f"## {document}", "", f"{counts(own)}.", ""]
        lines += [
            "| part | what | call | what came back | verdict |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [_line(each) for each in own]
        lines.append("")
    return "\n".join(lines)


def _line(tried: Tried) -> str:
    verdict = f"**{tried.verdict}**" + (f": {tried.why}" if tried.why else "")
    cells = (tried.part, tried.what, tried.call, tried.came, verdict)
    return "| " + " | ".join(each.replace("|", "\\|").replace("\n", " ") for each in cells) + " |"
