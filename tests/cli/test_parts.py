"""The small parts of the command line: existing results, halting, texts, watching."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.cli.run.existing import ExistingResults
from batchmill.cli.run.halt import Halt, parse_halt
from batchmill.cli.run.watch import Settling, Watcher
from batchmill.cli.text import clean, duration, saved, size, table
from batchmill.errors.request import UsageError
from batchmill.local.inputs import LocalInput, Search, find
from batchmill.local.pipelines import Changes, changed, resolve


def inputs(*names: str) -> list[LocalInput]:
    return [LocalInput(Path("/in", name), name) for name in names]


def existing(folder: Path, changes: Changes, *names: str) -> dict[str, str]:
    found = ExistingResults(folder, changed(resolve("web"), changes)).of(inputs(*names))
    return {Path(key).name: name for key, name in found.items()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("a.webp", "a-2.webp", "b.jpg", "x/C.WEBP", "d-640x480.webp", "e.pdf.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_results_are_found_by_the_format_that_the_pipeline_makes(out: Path) -> None:
    assert existing(out, Changes(), "a.png", "b.png") == {"a.png": "a.webp"}
    assert existing(out, Changes(format="jpeg"), "a.png", "b.png") == {"b.png": "b.jpg"}


def test_any_result_counts_where_the_format_is_only_known_later(out: Path) -> None:
    assert existing(out, Changes(format="auto"), "b.png") == {"b.png": "b.jpg"}


def test_the_second_of_a_name_needs_a_result_of_its_own(out: Path) -> None:
    assert existing(out, Changes(), "a.png", "a.gif", "a.jpg") == {
        "a.png": "a.webp",
        "a.gif": "a-2.webp",
    }


def test_case_and_unknown_sizes_do_not_hide_a_result(out: Path) -> None:
    assert existing(out, Changes(), "x/c.png") == {"c.png": "x/C.WEBP"}
    sized = Changes(output_path="{stem}-{w}x{h}.{ext}")
    assert existing(out, sized, "d.png", "a.png") == {"d.png": "d-640x480.webp"}


def test_what_was_found_out_counts_as_a_result(out: Path) -> None:
    assert existing(out, Changes(), "e.pdf") == {"e.pdf": "e.pdf.json"}


@pytest.mark.parametrize(
    ("text", "failed", "total", "reached"),
    [
        ("soon,fail=1", 1, 100, True),
        ("now,fail=3", 2, 100, False),
        ("soon,fail=3%", 3, 100, False),
        ("soon,fail=3%", 4, 100, True),
        ("now,fail=0.5%", 6, 1000, True),
        (None, 100, 100, False),
    ],
)
def test_a_run_halts_at_its_limit(text: str | None, failed: int, total: int, reached: bool) -> None:
    assert parse_halt(text).reached(failed, total) is reached


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(1, 1000))
def test_more_failures_never_take_a_halt_back(limit: int, failed: int, total: int) -> None:
    for halt in (Halt(failures=limit), Halt(most_pct=limit / 10)):
        assert not halt.reached(failed, total) or halt.reached(failed + 1, total)


@pytest.mark.parametrize(
    "text", ["", "soon", "fail=3", "soon,fail=0", "soon,fail=1.5", "later,fail=1"]
)
def test_a_halt_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="form soon,fail=3"):
        parse_halt(text)


def test_numbers_read_as_people_write_them() -> None:
    sizes, times = (0, 999, 1234, 999_600), (0.04, 9.96, 59.4, 59.9, 61, 3700)

    assert list(map(size, sizes)) == ["0 B", "999 B", "1.23 kB", "1 MB"]
    assert list(map(duration, times)) == [
        *("0.0 s", "10 s", "59 s"),
        *("1 min 00 s", "1 min 01 s", "1 h 01 min"),
    ]
    assert [saved(100, 25), saved(100, 120), saved(0, 5)] == ["75 %", "-20 %", ""]
    assert table([("a", "bb"), ("ccc", "d")]) == "a    bb\nccc  d"


@given(st.text())
def test_a_name_never_steers_the_terminal(name: str) -> None:
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028" for c in clean(name))


def seen(name: str, *, size_bytes: int = 1, mtime_ns: int = 1) -> LocalInput:
    return LocalInput(Path("/in", name), name, size_bytes, mtime_ns)


def test_a_file_is_taken_once_it_has_stopped_changing() -> None:
    settling = Settling(settle_s=2)

    assert settling.settled([seen("a", size_bytes=1)], 0) == []
    assert settling.settled([seen("a", size_bytes=2)], 2) == []
    assert settling.settled([seen("a", size_bytes=2)], 3.9) == []
    assert settling.settled([seen("a", size_bytes=2)], 4) == [seen("a", size_bytes=2)]
    assert settling.settled([seen("a", size_bytes=2)], 99) == []


def test_a_file_that_changes_again_is_taken_again() -> None:
    settling = Settling(settle_s=0, known=[seen("a"), seen("b")])

    assert settling.settled([seen("a"), seen("b"), seen("c")], 0) == [seen("c")]
    assert settling.settled([seen("a", mtime_ns=2), seen("c")], 1) == [seen("a", mtime_ns=2)]


def test_a_file_that_went_away_meanwhile_settles_anew() -> None:
    settling = Settling(settle_s=2)

    assert settling.settled([seen("a")], 0) == []
    assert settling.settled([], 1) == []
    assert settling.settled([seen("a")], 2) == []
    assert settling.settled([seen("a")], 4) == [seen("a")]


def test_files_are_waited_for(tmp_path: Path) -> None:
    async def story() -> str:
        watcher = Watcher(
            lambda: find([str(tmp_path)], Search()), Settling(settle_s=0), interval_s=0.01
        )
        waiting = asyncio.create_task(watcher.next())
        await asyncio.sleep(0.05)
        (tmp_path / "new.png").write_bytes(b"x")
        return (await waiting).name

    assert asyncio.run(story()) == "new.png"
