"""Laws of what people read: percent never goes back within a run, pages neither repeat nor skip."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection

import databases
from batchmill.db import batches, items, workers
from batchmill.db.connect import Database
from batchmill.db.schema import failures as failures_table
from batchmill.db.schema import items as items_table
from batchmill.db.types import at, from_ms
from batchmill.model.batch import Batch, BatchDraft, BatchId, BatchStatus, OwnerId
from batchmill.model.item import (
    UNSUCCESSFUL,
    Failure,
    Input,
    ItemId,
    ItemStatus,
    NewItem,
    Result,
    WorkerId,
)
from batchmill.model.progress import progress
from batchmill.model.retry import RetryPolicy
from batchmill.service import batch_control
from batchmill.service.batch_control import RetryScope
from batchmill.service.queries import Reading, Wanted
from batchmill.service.scheduling import transitions
from batchmill.service.scheduling.transitions import Completed, Failed
from support.ring import ALL
from support.rows import claim_in_one
from support.server_contexts import new_context

T = TypeVar("T")
Row = tuple[str, ItemStatus, int]
"""Name, status and failure group of an item."""
BATCH = BatchId("bat_1")
NUMBER = 7
WORKER = WorkerId("wrk")
ORDER = BatchDraft(
    pipeline={}, pipeline_name="p", family="images", tier="free", priority=1050, keep_open=True
)
OUTCOMES = (
    Completed(Result()),
    Failed(Failure("unreadable_file", "bad"), "errors", RetryPolicy()),
    Failed(Failure("outage", "away", retryable=True), "errors", RetryPolicy()),
)


class Percent(RuleBasedStateMachine):
    """One batch that is worked on, paused, added to and retried in pieces, on a real database."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.do(databases.empty)
        self.now = 1_800_000_000_000
        self.seen: dict[int, float] = {}

    def do(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        with self.database.engine.begin() as conn:
            return function(conn, *args, **kwargs)

    def batch(self) -> Batch | None:
        return self.do(batches.get, BATCH, owner_id=None)

    @initialize(keep_open=st.booleans())
    def accept(self, *, keep_open: bool) -> None:
        self.do(batches.insert, BATCH, ORDER, owner_id=OwnerId("a"), upload_ms=1, now=at(self.now))
        new = [NewItem(ItemId(f"itm_{n}"), Input(f"k/{n}", f"{n}", 10)) for n in range(NUMBER)]
        self.do(items.insert, BATCH, new, first_position=0)
        self.do(batches.count, BATCH, {ItemStatus.PENDING: NUMBER})
        self.do(batches.start, BATCH, status=BatchStatus.QUEUED, open=keep_open)
        lease: dict[str, Any] = {"slots": 1, "stats": {}, "lease_ms": 10**12}
        self.do(workers.enter, WORKER, host="h", pid=1, now=at(self.now), **lease)

    @rule()
    def close(self) -> None:
        self.do(batch_control._close, BATCH, retention_ms=1_000)

    @rule(seconds=st.sampled_from([0, 1, 50, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * 1_000

    @rule(outcome=st.sampled_from(OUTCOMES), run_ms=st.integers(0, 10_000))
    def work_one(self, outcome: Completed | Failed, run_ms: int) -> None:
        asking = transitions.Asking(WORKER, slots=1, most=lambda _: 1)
        for claimed in self.do(claim_in_one, asking, now=at(self.now)):
            self.now += run_ms
            ended = [transitions.EndedAttempt(claimed, outcome, run_ms)]
            self.do(transitions.finish, BATCH, ended, retention_ms=1_000, now=at(self.now))

    @rule(numbers=st.sets(st.integers(0, NUMBER - 1), min_size=1), is_first=st.booleans())
    def retry_some(self, numbers: set[int], *, is_first: bool) -> None:
        scope = RetryScope(ids=tuple(ItemId(f"itm_{n}") for n in sorted(numbers)))
        self.do(batch_control._retry_chunk, BATCH, scope, is_first=is_first)

    @precondition(lambda self: not self.batch().status.ended)
    @rule()
    def pause_and_resume(self) -> None:
        self.do(batches.change, BATCH, paused=True)
        self.now += 3_600_000
        self.do(batches.resume, BATCH, now=at(self.now))

    @invariant()
    def percent_never_goes_back_within_a_run(self) -> None:
        batch = self.batch()
        if batch is None or batch.status is BatchStatus.UPLOADING:
            return
        told = progress(batch, from_ms(self.now))
        assert (told.percent is None) == batch.open
        if told.percent is not None:
            assert self.seen.get(batch.run_no, 0) <= told.percent <= 100
            assert (told.percent == 100) == batch.status.ended
            self.seen[batch.run_no] = told.percent

    @invariant()
    def busy_time_is_never_negative_and_pauses_are_not_busy(self) -> None:
        batch = self.batch()
        if batch is not None:
            assert 0 <= batch.busy_ms < 3_600_000


# Hypothesis makes the base class when it is asked for.
class TestPercent(Percent.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(
        max_examples=300 if ALL else 15,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )

    @classmethod
    def setUpClass(cls) -> None:
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        Percent.database = cls.enterClassContext(databases.new_database("sqlite", folder))


NAMES = st.text("ab/._%\u00fc\U0001f600", min_size=1, max_size=4)
STATUSES = st.sampled_from(["pending", "completed", "failed", "quarantined"]).map(ItemStatus)
CODES = {1: "damaged", 2: "damaged", 3: "too_large"}
"""The error code of each failure group."""
ROWS = st.tuples(NAMES, STATUSES, st.sampled_from(sorted(CODES)))
WANTED = st.builds(
    Wanted,
    status=st.none() | STATUSES,
    error_code=st.none() | st.sampled_from(["damaged", "too_large", "other"]),
    failure_no=st.none() | st.sampled_from(sorted(CODES)),
    name_prefix=st.none() | NAMES,
)


@settings(
    max_examples=1_500 if ALL else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.lists(ROWS, max_size=12), limit=st.integers(1, 5), wanted=WANTED)
def test_pages_hold_each_matching_item_once_and_in_order(
    database: Database, tmp_path: Path, *, rows: list[Row], limit: int, wanted: Wanted
) -> None:
    with database.engine.begin() as conn:
        _store(conn, rows)
    reading = Reading(new_context(database, tmp_path), None)

    async def every() -> list[int]:
        batch = await reading.batch(BATCH)
        found, cursor = [], None
        for _ in range(len(rows) + 1):
            page = await reading.items(batch, wanted, limit=limit, cursor=cursor)
            found += [item.position for item in page.data]
            cursor = page.next_cursor
            if cursor is None:
                break
        return found

    matching = [(row[0], n) for n, row in enumerate(rows) if _matches(wanted, *row)]
    expected = sorted(matching) if wanted.name_prefix is not None else matching
    assert asyncio.run(every()) == [n for _, n in expected]


def _store(conn: Connection, rows: list[Row]) -> None:
    databases.empty(conn)
    batches.insert(conn, BATCH, ORDER, owner_id=OwnerId("a"), upload_ms=1)
    new = [NewItem(ItemId(f"itm_{n}"), Input("k", name, 1)) for n, (name, *_) in enumerate(rows)]
    items.insert(conn, BATCH, new, first_position=0)
    for no, code in CODES.items():
        row = {"no": no, "batch_id": BATCH, "code": code, "message": "", "count": 1}
        more = {"retryable": False, "first_at": from_ms(0), "last_at": from_ms(0)}
        conn.execute(failures_table.insert().values(**row, **more))
    for n, (_, status, no) in enumerate(rows):
        failure_no = no if status in UNSUCCESSFUL else None
        item = items_table.update().where(items_table.c.position == n)
        conn.execute(item.values(status=status, failure_no=failure_no))


def _matches(wanted: Wanted, name: str, status: ItemStatus, no: int) -> bool:
    failed = status in UNSUCCESSFUL
    return (
        wanted.status in (None, status)
        and name.startswith(wanted.name_prefix or "")
        and (wanted.failure_no is None or (failed and wanted.failure_no == no))
        and (wanted.error_code is None or (failed and wanted.error_code == CODES[no]))
    )
