"""Percent never goes back, and the real end lies where the estimate says."""

import heapq
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.model.batch import Batch, BatchId, BatchStatus, Counts, OwnerId
from batchmill.model.progress import WIDEST, progress

START = datetime(2026, 1, 1, tzinfo=UTC)
TIMINGS = json.loads((Path(__file__).parent / "recorded_timings.json").read_text())
"""`[bytes, milliseconds]` of files as one process worked them off, one file after another."""

BATCH = Batch(
    id=BatchId("bat_1"),
    owner_id=OwnerId("local"),
    status=BatchStatus.PROCESSING,
    counts=Counts(),
    pipeline={},
    pipeline_name="web",
    family="images",
    tier="free",
    priority=1050,
    created_at=START,
    run_started_at=START,
)


@dataclass(frozen=True)
class Ended:
    """One file of a replayed batch: when it started and ended, in seconds."""

    bytes: int
    started_s: float
    ended_s: float


@dataclass(frozen=True)
class Sample:
    """What was told at some moment of a replay, and how long the rest really took."""

    done: float
    rest_s: float
    low_s: float
    high_s: float

    @property
    def inside(self) -> bool:
        return self.low_s <= self.rest_s <= self.high_s


def _replayed(name: str, files: int, slots: int, seed: int) -> list[Ended]:
    """Let slots work off recorded files in random order, each as slow as it was, within 15 %."""
    chance = random.Random(seed)  # noqa: S311 - the same batches in every run
    free, ended = [0.0] * slots, []
    for _ in range(files):
        size, ms = chance.choice(TIMINGS[name])
        started = heapq.heappop(free)
        file = Ended(size, started, started + ms / 1000 * chance.lognormvariate(0, 0.15))
        heapq.heappush(free, file.ended_s)
        ended.append(file)
    return sorted(ended, key=lambda file: file.ended_s)


def _batch_at(files: list[Ended], now_s: float) -> Batch:
    """Return the row as the transactions of delivery would have left it at `now_s`."""
    done = [file for file in files if file.ended_s <= now_s]
    running = sum(file.started_s <= now_s < file.ended_s for file in files)
    last_s = done[-1].ended_s if done else 0.0
    return replace(
        BATCH,
        counts=Counts(
            completed=len(done),
            processing=running,
            pending=len(files) - len(done) - running,
        ),
        bytes_in=sum(file.bytes for file in files),
        bytes_done=sum(file.bytes for file in done),
        run_ms=round(sum(file.ended_s - file.started_s for file in done) * 1000),
        run_s2=sum((file.ended_s - file.started_s) ** 2 for file in done),
        busy_ms=round(last_s * 1000),
        settled_at=START + timedelta(seconds=last_s) if done else None,
    )


def _samples(files: list[Ended], number: int = 60) -> Iterator[Sample]:
    """Ask at even intervals; moments at which nothing is told yet are left out."""
    end_s = files[-1].ended_s
    for step in range(1, number):
        now_s = end_s * step / number
        batch = _batch_at(files, now_s)
        told = progress(batch, START + timedelta(seconds=now_s))
        if told.eta_low_s is not None and told.eta_high_s is not None:
            done = batch.counts.finished / len(files)
            yield Sample(done, end_s - now_s, told.eta_low_s, told.eta_high_s)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Every recording, 60 to 1,000 files of it, on one to four slots, several times over."""
    shapes = [(60, 1), (60, 2), (300, 1), (300, 2), (300, 4), (1_000, 2)]
    return [
        sample
        for seed in range(3)
        for name in TIMINGS
        for files, slots in shapes
        for sample in _samples(_replayed(name, files, slots, seed))
    ]


def test_the_real_end_lies_inside_the_range_in_at_least_four_of_five_samples(
    samples: list[Sample],
) -> None:
    assert sum(sample.inside for sample in samples) >= 0.8 * len(samples)


def test_the_range_is_at_most_three_times_as_wide_as_its_low_end(samples: list[Sample]) -> None:
    late = [sample for sample in samples if sample.done >= 0.05]

    assert late
    assert all(sample.high_s <= WIDEST * sample.low_s * 1.000_001 for sample in late)


def test_an_estimate_is_told_for_nearly_the_whole_batch(samples: list[Sample]) -> None:
    assert len(samples) > 0.93 * 59 * 54


def test_files_of_equal_length_make_the_range_narrow() -> None:
    files = [Ended(1_000, n * 1.0, n + 1.0) for n in range(400)]
    told = progress(_batch_at(files, 200.5), START + timedelta(seconds=200.5))

    assert told.eta_low_s is not None
    assert told.eta_high_s is not None
    assert told.eta_high_s / told.eta_low_s < 2
    assert told.eta_low_s < 199.5 < told.eta_high_s


def test_short_files_that_are_claimed_by_the_hundred_count_as_those_that_run() -> None:
    """Four slots, 0.1 s a file: 400 done in 10 s, 200 claimed, none known to have begun."""
    batch = replace(
        BATCH,
        counts=Counts(pending=400, queued=200, completed=400),
        run_ms=40_000,
        run_s2=4.0,
        busy_ms=10_000,
        settled_at=START + timedelta(seconds=10),
    )
    told = progress(batch, START + timedelta(seconds=10))
    assert told.eta_low_s is not None
    assert told.eta_high_s is not None
    assert told.eta_low_s < 15 < told.eta_high_s < 30


def test_larger_files_ahead_make_the_end_later() -> None:
    sizes = [1_000] * 100 + [3_000] * 100
    files = [Ended(size, n * 1.0, n + 1.0) for n, size in enumerate(sizes)]
    even = [replace(file, bytes=1_000) for file in files]
    now = START + timedelta(seconds=100.5)

    later = progress(_batch_at(files, 100.5), now).eta_s
    sooner = progress(_batch_at(even, 100.5), now).eta_s
    assert later is not None
    assert sooner is not None
    assert later > 1.3 * sooner


@pytest.mark.parametrize(
    "change",
    [{"paused": True}, {"open": True}, {"status": BatchStatus.COMPLETED}],
    ids=["paused", "open", "ended"],
)
def test_nothing_is_told_about_the_end_when_it_cannot_be_known(change: dict[str, Any]) -> None:
    files = [Ended(1_000, n * 1.0, n + 1.0) for n in range(20)]

    told = progress(replace(_batch_at(files, 10.5), **change), START + timedelta(seconds=10.5))

    assert told.eta_s is told.eta_low_s is told.eta_high_s is None


def test_percent_is_unknown_while_files_may_still_be_added() -> None:
    assert progress(replace(BATCH, open=True), START).percent is None
    assert progress(replace(BATCH, status=BatchStatus.UPLOADING), START).percent is None


def test_a_batch_without_files_is_done() -> None:
    assert progress(replace(BATCH, status=BatchStatus.COMPLETED), START).percent == 100


@given(total=st.integers(1, 5_000_000), base=st.integers(0, 1_000_000), data=st.data())
def test_percent_is_100_only_at_the_very_end_and_grows_with_every_item(
    total: int, base: int, data: st.DataObject
) -> None:
    done = data.draw(st.integers(0, total - 1))

    def at(finished: int) -> float:
        counts = Counts(completed=base + finished, pending=total - finished)
        percent = progress(replace(BATCH, run_base=base, counts=counts), START).percent
        assert percent is not None
        return percent

    assert 0 <= at(done) <= at(done + 1) <= 100
    assert at(done) < 100
    assert at(total) == 100


ROWS = st.fixed_dictionaries(
    {
        "counts": st.builds(
            Counts,
            completed=st.integers(0, 1_000),
            pending=st.integers(0, 1_000),
            processing=st.integers(0, 50),
        ),
        "run_ms": st.integers(0, 10**9),
        "run_s2": st.floats(0, 1e12),
        "busy_ms": st.integers(0, 10**9),
        "bytes_in": st.integers(0, 10**12),
        "bytes_done": st.integers(0, 10**12),
    }
)


@given(row=ROWS, age_s=st.floats(-100, 1e6))
def test_whatever_the_row_holds_the_numbers_are_in_order(row: dict[str, Any], age_s: float) -> None:
    told = progress(replace(BATCH, settled_at=START, **row), START + timedelta(seconds=age_s))

    bounds = (told.eta_low_s, told.eta_s, told.eta_high_s)
    known = [bound for bound in bounds if bound is not None]
    assert len(known) in {0, len(bounds)}
    assert known == sorted(known)
    assert all(0 < bound < float("inf") for bound in known)
