"""An administrator pauses one worker: it finishes what it runs, and the others go on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from batchmill.db import pauses, workers
from batchmill.db.connect import Database
from batchmill.db.workers import WorkerRow
from batchmill.errors.request import ConflictError, NotFoundError
from batchmill.model.item import Spent, WorkerId
from batchmill.service import batch_control, sweep
from batchmill.service.context import ServerContext
from batchmill.service.scheduling import heartbeat
from batchmill.service.scheduling.claiming import POLL_S
from support.server_contexts import (
    batch_of,
    items_of,
    new_context,
    scripted,
    send,
    until,
    until_ended,
    working,
)

WHY = "its disk is being changed"
ROOM: dict[str, Any] = {"disk_reserve_bytes": 0, "memory_reserve_bytes": 0}


async def row_of(context: ServerContext) -> WorkerRow:
    alive = await context.database.read(workers.alive)
    return next(row for row in alive if row.id == context.worker_id)


async def a_paused_worker(database: Database, folder: Path) -> ServerContext:
    """Enter a worker, pause it, and let it hear of that."""
    context = new_context(database, folder, **ROOM)
    await heartbeat.enter(context, slots=2)
    await batch_control.pause_worker(new_context(database, folder), context.worker_id, WHY)
    await heartbeat.renew(context, slots=2)
    return context


@pytest.mark.all_databases
async def test_a_paused_worker_finishes_what_it_runs_and_takes_nothing_until_it_is_resumed(
    database: Database, tmp_path: Path
) -> None:
    server, gate = new_context(database, tmp_path), asyncio.Event()
    worker = new_context(database, tmp_path, renew_s=0.1)
    async with working(worker, scripted(tmp_path, lambda _: gate.wait()), slots=1):
        batch_id = await send(server, 4)
        await until(server, batch_id, lambda batch: batch.counts.processing == 1)
        await batch_control.pause_worker(server, worker.worker_id, WHY)
        await until(server, batch_id, lambda batch: batch.counts.pending == 3)
        before = await row_of(worker)
        gate.set()
        await until(server, batch_id, lambda batch: batch.counts.completed == 1)
        await asyncio.sleep(2 * POLL_S)
        paused = await row_of(worker)
        assert (await batch_of(server, batch_id)).counts.pending == 3
        assert (paused.pause_reason, paused.open_slots) == (WHY, 0)
        assert paused.lease_until > before.lease_until, "it goes on renewing its lease"
        await batch_control.resume_worker(server, worker.worker_id)
        assert (await until_ended(server, batch_id)).counts.completed == 4
        assert (await row_of(worker)).pause_reason is None
    assert [(item.begun, item.spent) for item in await items_of(server, batch_id)] == [
        (1, Spent())
    ] * 4


async def test_the_others_do_all_the_work_while_one_worker_is_paused(
    database: Database, tmp_path: Path
) -> None:
    paused, other = (new_context(database, tmp_path, renew_s=0.1) for _ in range(2))
    by: list[str] = []

    async with (
        working(paused, scripted(tmp_path, lambda _: by.append("paused"))),
        working(other, scripted(tmp_path, lambda _: by.append("other"))),
    ):
        await batch_control.pause_worker(paused, paused.worker_id, WHY)
        batch_id = await send(other, 20)
        assert (await until_ended(other, batch_id)).counts.completed == 20
    assert by == ["other"] * 20


@pytest.mark.all_databases
async def test_a_pause_holds_under_the_id_that_follows_a_lost_lease(
    database: Database, tmp_path: Path
) -> None:
    context = await a_paused_worker(database, tmp_path)
    before = context.worker_id
    await database.run(workers.end_all)
    await heartbeat.renew(context, slots=2)
    assert context.worker_id != before
    assert (await row_of(context)).pause_reason == WHY
    assert context.vitals.holding
    await sweep.forget_dead(context)
    await heartbeat.renew(context, slots=2)
    assert context.vitals.worker_paused == WHY
    await batch_control.resume_worker(context, context.worker_id)
    await heartbeat.renew(context, slots=2)
    assert not context.vitals.holding


async def test_a_pause_holds_for_a_process_that_was_forgotten_and_comes_back(
    database: Database, tmp_path: Path
) -> None:
    """As one whose machine has slept for an hour."""
    context = await a_paused_worker(database, tmp_path)
    await database.run(workers.end_all)
    await sweep.forget_dead(new_context(database, tmp_path))
    assert await database.read(pauses.standing, context.worker_id) is None
    await heartbeat.renew(context, slots=2)
    assert (await row_of(context)).pause_reason == WHY
    assert context.vitals.holding


async def test_a_worker_that_was_resumed_before_its_lease_was_over_goes_on(
    database: Database, tmp_path: Path
) -> None:
    context = await a_paused_worker(database, tmp_path)
    server = new_context(database, tmp_path)
    await batch_control.resume_worker(server, context.worker_id)  # it does not hear of it
    await database.run(workers.end_all)
    await heartbeat.renew(context, slots=2)
    assert (await row_of(context)).pause_reason is None
    assert not context.vitals.holding


@pytest.mark.all_databases
async def test_a_pause_ends_with_its_process_and_no_other_pause_does(
    database: Database, tmp_path: Path
) -> None:
    server = new_context(database, tmp_path)
    left, stays = [await a_paused_worker(database, tmp_path) for _ in range(2)]
    await batch_control.pause_queue(server, "lunch")
    cleanup = next(iter(pauses.CLEANUPS.values()))
    await database.run(pauses.begin, cleanup, "what is this?")
    await database.run(workers.leave, left.worker_id)
    await sweep.forget_dead(server)
    names = (left.worker_id, stays.worker_id, pauses.QUEUE, cleanup)
    found = [await database.read(pauses.standing, name) for name in names]
    assert [pause and pause.reason for pause in found] == [None, WHY, "lunch", "what is this?"]


@pytest.mark.all_databases
async def test_the_slots_of_a_paused_worker_count_for_nothing_and_work_says_why_it_stands(
    database: Database, tmp_path: Path
) -> None:
    paused = await a_paused_worker(database, tmp_path)
    assert paused.vitals.slots == 0
    assert paused.vitals.standstill == f"No file is started: workers are paused ({WHY})."
    other = new_context(database, tmp_path, **ROOM)
    await heartbeat.enter(other, slots=3)
    assert (other.vitals.slots, other.vitals.workers) == (3, 1)
    assert other.vitals.standstill is None


async def test_what_only_serves_or_is_not_alive_is_not_paused(
    database: Database, tmp_path: Path
) -> None:
    server = new_context(database, tmp_path, **ROOM)
    await heartbeat.enter(server, slots=0)
    with pytest.raises(ConflictError, match="only serves"):
        await batch_control.pause_worker(server, server.worker_id, WHY)
    for action in (
        batch_control.pause_worker(server, WorkerId("wrk_gone"), WHY),
        batch_control.resume_worker(server, WorkerId("wrk_gone")),
    ):
        with pytest.raises(NotFoundError, match="wrk_gone"):
            await action
