"""The joblog: what was written is read again, wherever a kill has cut it."""

import asyncio
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.errors.request import UsageError
from batchmill.local import joblog
from batchmill.local.inputs import LocalInput, one_file
from batchmill.local.joblog import Joblog
from batchmill.local.results import FileFacts, ItemResult, SavedFile
from batchmill.model.item import Failure, ItemStatus, Output
from batchmill.model.pipeline import Pipeline, Step
from support.forced import Forced
from support.ring import examples

PIPELINE = Pipeline("p", (Step("resize", {"width": 10}),))


def result(path: Path, status: ItemStatus = ItemStatus.COMPLETED, name: str = "a") -> ItemResult:
    facts = FileFacts(path, path.name, bytes=3, mtime_ns=5, sha256="0" * 64)
    made = SavedFile(Output(f"{name}.webp", 4, "image/webp", "1" * 64, 0), path.parent / name)
    failed = status is ItemStatus.FAILED
    error = Failure("unreadable_file", f"{name} cannot be read") if failed else None
    return ItemResult(facts, status, () if failed else (made,), error=error, data={"big": [1] * 9})


def written(path: Path, *results: ItemResult) -> None:
    async def write() -> None:
        with Joblog(path, PIPELINE) as log:
            for each in results:
                log.add(each)

    asyncio.run(write())


async def test_a_joblog_is_forced_to_the_disk_to_its_last_line_when_it_is_closed(
    tmp_path: Path,
) -> None:
    forced = Forced(tmp_path)

    with Joblog(tmp_path / "log", PIPELINE, sync=forced) as log:
        log.add(result(Path("/in/a")))

    assert forced.bytes_of("log") == (tmp_path / "log").read_bytes() != b""


STATUSES = st.sampled_from([ItemStatus.COMPLETED, ItemStatus.SKIPPED, ItemStatus.FAILED])
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1
).filter(lambda name: name not in {".", ".."})


@settings(max_examples=examples(40), deadline=None)
@given(st.dictionaries(NAMES, STATUSES, min_size=1, max_size=5), st.integers(0, 5000))
def test_a_log_that_was_cut_holds_what_stands_before_the_cut(
    outcomes: dict[str, ItemStatus], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        written(path, *(result(Path("/in", n), s) for n, s in outcomes.items()))
        whole = path.read_bytes()
        path.write_bytes(whole[: max(1, len(whole) - cut)])

        found = joblog.read(path)
        written(path, result(Path("/in/later")))
        after = joblog.read(path)

    lines = whole[: max(1, len(whole) - cut)].count(b"\n")
    assert len(outcomes) >= len(found) >= lines
    assert all(found[key].status is outcomes[Path(key).name] for key in found)
    assert after.keys() == found.keys() | {"/in/later"}


def test_the_last_word_on_a_file_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    written(log, result(Path("/in/a"), ItemStatus.FAILED), result(Path("/in/a")))

    entry = joblog.read(log)["/in/a"]

    assert not entry.failed
    assert entry.outputs == {"a.webp": 4}


def test_data_that_may_be_large_is_left_out(tmp_path: Path) -> None:
    written(tmp_path / "log", result(Path("/in/a")))

    assert b"big" not in (tmp_path / "log").read_bytes()


def test_an_absent_log_is_empty_and_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Sir")
    (tmp_path / "other.jsonl").write_text('{"key": "a", "input": 3}\n')

    assert joblog.read(tmp_path / "none") == {}
    for name in ("letter", "other.jsonl"):
        with pytest.raises(UsageError, match="is not a joblog"):
            joblog.read(tmp_path / name)


class Story:
    """A file that was done, with its result."""

    def __init__(self, folder: Path) -> None:
        self.output = folder / "out"
        self.output.mkdir()
        (self.output / "a.webp").write_bytes(b"made")
        self.source = folder / "a.png"
        self.source.write_bytes(b"abc")
        item = self.item()
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        facts = FileFacts(item.path, "a.png", 3, item.mtime_ns, sha256=sha256)
        written(folder / "log", replace(result(item.path), source=facts))
        self.entry = joblog.read(folder / "log")[item.key]

    def item(self) -> LocalInput:
        return one_file(self.source)

    def is_done(self, pipeline: Pipeline = PIPELINE) -> bool:
        digest = joblog.digest(pipeline)
        return joblog.is_done(self.entry, self.item(), pipeline=digest, output=self.output)


def test_an_unchanged_file_is_done(tmp_path: Path) -> None:
    assert Story(tmp_path).is_done()


def test_a_touched_file_of_the_same_content_is_done(tmp_path: Path) -> None:
    story = Story(tmp_path)
    os.utime(story.source, (1, 1))

    assert story.is_done()


@pytest.mark.parametrize("content", [b"abd", b"abcd"])
def test_a_changed_file_is_not_done(tmp_path: Path, content: bytes) -> None:
    story = Story(tmp_path)
    story.source.write_bytes(content)
    os.utime(story.source, (1, 1))

    assert not story.is_done()


def test_a_file_without_its_result_is_not_done(tmp_path: Path) -> None:
    story = Story(tmp_path)
    (story.output / "a.webp").write_bytes(b"cut")

    assert not story.is_done()


@pytest.mark.parametrize(
    "other",
    [
        Pipeline("p", (Step("resize", {"width": 11}),)),
        replace(PIPELINE, output_path="{stem}-{w}.{ext}"),
    ],
)
def test_another_pipeline_is_not_done(tmp_path: Path, other: Pipeline) -> None:
    assert not Story(tmp_path).is_done(other)
