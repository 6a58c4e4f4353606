"""Caps of a family, time limits of a batch, options of a single file, and shortage."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchmill.db import turns
from batchmill.db.connect import Database
from batchmill.model.batch import BatchStatus, OwnerId
from batchmill.model.item import ItemStatus
from batchmill.service.scheduling import heartbeat
from batchmill.service.scheduling.claiming import POLL_S
from batchmill.service.scheduling.heartbeat import shortage
from batchmill.service.scheduling.transitions import Claimed
from batchmill.service.submission.submit import Caller, Order, accept, drafted
from batchmill.settings.compat import DocumentsSettings
from batchmill.settings.fields import Settings
from support.server_contexts import (
    PIPELINE,
    a_file,
    batch_of,
    items_of,
    new_context,
    scripted,
    send,
    until,
    until_ended,
    working,
)

DOCUMENTS = replace(PIPELINE, family="document-jobs")


@pytest.mark.all_databases
async def test_a_family_never_has_more_items_in_flight_than_its_cap(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path, documents=DocumentsSettings(concurrency=2))
    seen: list[int] = []

    async def look(_claimed: Claimed) -> None:
        family = DOCUMENTS.family
        seen.append(await database.read(turns.in_flight_of_family, family))

    owners = [Caller(OwnerId(name)) for name in ("anna", "berta")]
    sent = [await send(context, 6, caller=each, pipeline=DOCUMENTS) for each in owners]
    async with working(context, scripted(tmp_path, look), slots=6):
        for batch_id in sent:
            assert (await until_ended(context, batch_id)).counts.completed == 6
    assert len(seen) == 12
    assert max(seen) == 2


async def test_a_batch_that_runs_past_its_time_limit_is_stopped_with_the_reason(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)

    async def hang(_claimed: Claimed) -> None:
        await asyncio.sleep(600)

    async with working(context, scripted(tmp_path, hang)):
        batch_id = await send(context, 3, time_limit_s=1)
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.CANCELLED
    assert batch.pause_reason == "stopped: its time limit was over"


async def test_what_was_worked_on_when_a_batch_ran_out_of_time_fails_and_the_rest_is_cancelled(
    database: Database, tmp_path: Path
) -> None:
    context = new_context(database, tmp_path)

    async def hang_at_the_second(claimed: Claimed) -> None:
        if claimed.position == 1:
            await asyncio.sleep(600)

    async with working(context, scripted(tmp_path, hang_at_the_second), slots=1):
        batch_id = await send(context, 4, time_limit_s=1, concurrency=1)
        batch = await until_ended(context, batch_id)
    assert batch.status is BatchStatus.CANCELLED
    first, second, *rest = await items_of(context, batch_id)
    assert first.status is ItemStatus.COMPLETED
    assert (second.status, second.run_ms and second.run_ms > 0) == (ItemStatus.FAILED, True)
    assert second.error is not None
    assert second.error.code == "batch_timeout"
    assert second.error.message == (
        f"{second.input.name} was stopped: the time limit of its batch was over;"
        " send fewer files at once"
    )
    assert [item.status for item in rest] == [ItemStatus.CANCELLED] * 2


async def test_a_file_may_have_options_of_its_own(database: Database, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def script(claimed: Claimed) -> None:
        seen[claimed.input.name] = claimed.pipeline["steps"][0]["with"]

    context = new_context(database, tmp_path)
    plain = a_file(context.uploads, "plain.txt")
    special = replace(a_file(context.uploads, "special.txt"), options={"resize": {"width": 7}})
    async with working(context, scripted(tmp_path, script)):
        async with drafted(context, Caller()) as batch_id:
            await accept(context, batch_id, Caller(), order=Order(PIPELINE), files=[plain, special])
        await until_ended(context, batch_id)
    assert seen == {"plain.txt": {}, "special.txt": {"width": 7}}
    assert [item.options for item in await items_of(context, batch_id)] == [
        None,
        {"resize": {"width": 7}},
    ]


async def test_nothing_is_claimed_while_something_is_short_and_what_was_is_given_back(
    database: Database, tmp_path: Path
) -> None:
    context, gate = new_context(database, tmp_path), asyncio.Event()
    async with working(context, scripted(tmp_path, lambda _: gate.wait()), slots=1):
        batch_id = await send(context, 4)
        await until(context, batch_id, lambda batch: batch.counts.processing == 1)
        context.vitals.short_of = "only 0.1 GB of disk are free"
        await until(context, batch_id, lambda batch: batch.counts.pending == 3)
        gate.set()
        await until(context, batch_id, lambda batch: batch.counts.completed == 1)
        await asyncio.sleep(2 * POLL_S)
        assert (await batch_of(context, batch_id)).counts.pending == 3
        context.vitals.short_of = None
        assert (await until_ended(context, batch_id)).counts.completed == 4


def test_the_slots_of_a_machine_that_is_short_count_for_nothing(
    database: Database, tmp_path: Path
) -> None:
    async def story(memory_reserve_bytes: int) -> int:
        reserves: dict[str, Any] = {
            "disk_reserve_bytes": 0,
            "memory_reserve_bytes": memory_reserve_bytes,
        }
        context = new_context(database, tmp_path, **reserves)
        await heartbeat.enter(context, slots=4)
        return context.vitals.slots

    assert asyncio.run(story(0)) == 4
    assert asyncio.run(story(10**18)) == 4


def test_work_stands_still_only_while_every_machine_is_short(
    database: Database, tmp_path: Path
) -> None:
    async def story(memory_reserve_bytes: int) -> str | None:
        reserves: dict[str, Any] = {
            "disk_reserve_bytes": 0,
            "memory_reserve_bytes": memory_reserve_bytes,
        }
        context = new_context(database, tmp_path, **reserves)
        await heartbeat.enter(context, slots=4)
        return context.vitals.standstill

    first = asyncio.run(story(10**18))
    assert str(first).startswith("No file is started: only ")
    assert asyncio.run(story(0)) is None
    assert asyncio.run(story(10**18)) is None


def test_a_full_disk_is_said_in_a_sentence(tmp_path: Path) -> None:
    enough = Settings(data_dir=tmp_path, disk_reserve_bytes=0, memory_reserve_bytes=0)
    assert shortage(enough) is None
    full = enough.model_copy(update={"disk_reserve_bytes": 10**18})
    assert "of disk are free" in str(shortage(full))
    crammed = enough.model_copy(update={"memory_reserve_bytes": 10**18})
    assert "of memory are free" in str(shortage(crammed))
