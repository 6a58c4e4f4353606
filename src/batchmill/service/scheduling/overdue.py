"""How a batch is stopped whose time limit is over: in one transaction, so that no kill halves it.

What is being worked on fails with a sentence; what has not begun is cancelled like all of a batch
that is being cancelled.
"""

from collections.abc import Sequence
from typing import Final

from batchmill.db import batches, items, turns
from batchmill.db.connect import Connection
from batchmill.db.turns import Due
from batchmill.db.types import NOW, Clock
from batchmill.errors.item import BatchTimeoutError
from batchmill.model.batch import Batch, BatchId, BatchStatus
from batchmill.model.item import Failure
from batchmill.model.retry import RetryPolicy
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import EndedAttempt, Failed, FinishedItem

REASON: Final = "stopped: its time limit was over"


def stop(
    conn: Connection, batch_id: BatchId, *, retention_ms: int, now: Clock = NOW
) -> Sequence[tuple[EndedAttempt, FinishedItem | None]]:
    """Stop a batch; return what became of the items that were being worked on."""
    batch = batches.lock(conn, batch_id)
    if batch is None or batch.status is not BatchStatus.PROCESSING:
        return ()
    batches.start_cancelling(conn, batch_id, reason=REASON)
    running_ms = items.running(conn, batch_id, now=now)
    found = turns.named(conn, running_ms)
    ended = [_out_of_time(batch, each, running_ms[each.id]) for each in found]
    done = transitions.finish(conn, batch_id, ended, retention_ms=retention_ms, now=now)
    return tuple(zip(ended, done, strict=True))


def _out_of_time(batch: Batch, item: Due, run_ms: int) -> EndedAttempt:
    error = BatchTimeoutError(item.input.name)
    failure = Failure(error.code, error.message, error.retryable)
    failed = Failed(failure, error.budget, RetryPolicy())
    return EndedAttempt(transitions.held_of(batch, item), failed, run_ms)
