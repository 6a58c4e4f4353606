"""How far a batch is, and when it will end: numbers from the batch row alone."""

from dataclasses import dataclass
from datetime import datetime

from batchmill.model.batch import Batch, BatchStatus


@dataclass(frozen=True, slots=True)
class Progress:
    """`percent` never goes back within a run; it is None while files may still be added."""

    percent: float | None = None
    items_per_second: float | None = None
    eta_s: float | None = None
    eta_low_s: float | None = None
    eta_high_s: float | None = None


def progress(batch: Batch, now: datetime) -> Progress:
    """Tell how far the current run of a batch is at the instant `now`."""
    percent = _percent(batch)
    done = batch.counts.finished - batch.run_base
    if batch.run_started_at is None or done <= 0 or batch.status.ended or batch.paused:
        return Progress(percent)
    elapsed_s = max(0.001, (now - batch.run_started_at).total_seconds())
    rate = done / elapsed_s
    eta_s = batch.counts.unfinished / rate
    return Progress(percent, rate, eta_s, eta_s / 1.7, eta_s * 1.7)


def _percent(batch: Batch) -> float | None:
    """Return the share of the run's items that have ended, cut to tenths: 100 means all."""
    if batch.open or batch.status is BatchStatus.UPLOADING:
        return None
    wanted = batch.counts.total - batch.run_base
    if wanted <= 0:
        return 100.0
    return (batch.counts.finished - batch.run_base) * 1000 // wanted / 10
