"""How far a batch is, how fast it goes and when it will end, from the batch row alone.

The work ahead is what waits, spread over the items that run side by side, and the rest of those
that run now. How long an item takes is known from those that are done: their mean, how much
they differ, and whether the files ahead are larger than the files behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil, exp, log, sqrt

from batchmill.model.batch import RUNNABLE, Batch, BatchStatus, Counts

LEAST_DONE = 3
"""With fewer items done nothing is said about the end."""
WIDEST = 3.0
"""The range is never wider than this, from low to high."""
DEVIATIONS = 2.0
DRIFT = 0.12
"""Machines are not equally fast all the time: the relative error that no counting removes."""
PRIOR_ITEMS, PRIOR_CV2 = 4, 0.3
"""How much items are thought to differ (variance over squared mean) before many are known."""
LONGER = 1.15
"""Late surprises are longer than early ones: one slow file at the end holds up everything."""
LARGEST_SHIFT = 3.0
"""How much slower or faster larger or smaller files ahead may make the estimate."""
SLOWEST = 0.01
"""The least share of one slot that a batch is thought to get beside others."""
LAST_OF_AGE = 0.5
"""An item that has run for long will probably run on, for about this part of its age."""


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """`percent` never goes back within a run; it is None while files may still be added."""

    percent: float | None = None
    items_per_second: float | None = None
    eta_s: float | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None


def progress(batch: Batch, now: datetime) -> BatchProgress:
    """Tell how far the current run of a batch is at the instant `now`."""
    percent, known = _percent(batch), _Known.of(batch, now)
    if known.done < 1 or known.busy_s <= 0:
        return BatchProgress(percent)
    rate = known.done / known.busy_s
    if batch.status not in RUNNABLE or batch.paused or batch.open or known.done < LEAST_DONE:
        return BatchProgress(percent, rate)
    low_s, high_s = _range(known)
    return BatchProgress(percent, rate, sqrt(low_s * high_s), low_s, high_s)


def forecast(past: Sequence[Batch], items: int, side_by_side: int) -> tuple[float, float] | None:
    """Return the seconds between which `items` will probably take, judged by earlier batches.

    Their latest runs must have had the same pipeline. None: too few items are known.
    """
    done = sum(batch.counts.finished - batch.run_base for batch in past)
    if done < LEAST_DONE or not items:
        return None
    mean_s = max(0.001, sum(batch.run_ms for batch in past) / 1000 / done)
    spread = sum(batch.run_s2 for batch in past) / done - mean_s**2
    cv2 = (max(0.0, spread) / mean_s**2 * done + PRIOR_CV2 * PRIOR_ITEMS) / (done + PRIOR_ITEMS)
    margin = exp(min(DEVIATIONS * sqrt(cv2 / done + cv2 / items + DRIFT**2), log(WIDEST) / 2))
    plain_s = items * mean_s / max(1, min(side_by_side, items))
    return plain_s / margin, plain_s * margin


def _percent(batch: Batch) -> float | None:
    """Return the share of the run's items that have ended, cut to tenths: 100 means all."""
    if batch.open or batch.status is BatchStatus.UPLOADING:
        return None
    wanted = batch.counts.total - batch.run_base
    if wanted <= 0:
        return 100.0
    return (batch.counts.finished - batch.run_base) * 1000 // wanted / 10


@dataclass(frozen=True, slots=True)
class _Known:
    """What the row says: items by count, times in seconds, `shift` by the size of files ahead."""

    done: int
    left: int
    running: int
    busy_s: float
    age_s: float
    mean_s: float
    cv2: float
    shift: float

    @classmethod
    def of(cls, batch: Batch, now: datetime) -> "_Known":
        counts, done = batch.counts, batch.counts.finished - batch.run_base
        mean_s = batch.run_ms / 1000 / max(1, done)
        spread = batch.run_s2 / max(1, done) - mean_s**2
        seen = max(0.0, spread) / mean_s**2 if mean_s else 0.0
        age_s = (now - batch.settled_at).total_seconds() if batch.settled_at else 0.0
        age_s, busy_s = max(0.0, age_s), batch.busy_ms / 1000  # two clocks may differ
        return cls(
            done=done,
            left=counts.unfinished,
            running=_running(counts, done * mean_s / max(0.001, busy_s + age_s)),
            busy_s=busy_s,
            age_s=age_s,
            mean_s=mean_s,
            cv2=(seen * done + PRIOR_CV2 * PRIOR_ITEMS) / (done + PRIOR_ITEMS),
            shift=_shift(batch),
        )


def _running(counts: Counts, side_by_side: float) -> int:
    """Return how many items run now: short ones are not told apart from those claimed with them."""
    return max(counts.processing, min(counts.in_flight, ceil(side_by_side)))


def _shift(batch: Batch) -> float:
    """Return how many times larger the files ahead are; only the first run's sizes are known."""
    done, left = batch.counts.finished, batch.counts.unfinished
    bytes_left = batch.bytes_in - batch.bytes_done
    if batch.run_no > 1 or not (done and left and batch.bytes_done > 0 and bytes_left > 0):
        return 1.0
    ratio = (bytes_left / left) / (batch.bytes_done / done)
    return min(LARGEST_SHIFT, max(1 / LARGEST_SHIFT, ratio))


def _range(known: _Known) -> tuple[float, float]:
    """Return the seconds between which the rest will probably end."""
    plain_s, shifted_s = _rest_s(known, 1.0), _rest_s(known, known.shift)
    error = sqrt(known.cv2 / known.done + known.cv2 / max(1, known.left) + DRIFT**2)
    margin = exp(min(DEVIATIONS * error, WIDEST))
    low_s = min(plain_s, shifted_s) / margin
    high_s = max(plain_s, shifted_s) * margin * LONGER
    if high_s <= WIDEST * low_s:
        return low_s, high_s
    middle_s = sqrt(low_s * high_s)
    return middle_s / sqrt(WIDEST), middle_s * sqrt(WIDEST)


def _rest_s(known: _Known, shift: float) -> float:
    """Return how long the rest takes if an item takes `shift` times what it took so far."""
    mean_s = known.mean_s * shift
    waiting = max(0, known.left - known.running)
    side_by_side = (known.done + known.running / 2) * known.mean_s / (known.busy_s + known.age_s)
    side_by_side = max(SLOWEST, min(side_by_side, float(max(1, known.running))))
    # An item met while it runs is more likely a long one: (1 + cv²)/2 of the mean is left of it.
    tail_s = max(mean_s * (1 + known.cv2) / 2, LAST_OF_AGE * known.age_s)
    return max(0.001, waiting * mean_s / side_by_side + tail_s)
