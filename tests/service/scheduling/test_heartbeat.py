"""A process says that it lives, and goes on when nobody hears it."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from batchmill.db.connect import Database
from batchmill.errors.outage import DatabaseUnavailableError
from batchmill.service.scheduling import heartbeat
from batchmill.settings.fields import Settings
from support.server_contexts import new_context


async def test_a_heartbeat_goes_on_while_the_database_is_away(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'away.sqlite3'}")
    context = new_context(database, tmp_path, renew_s=0.01)
    await database.aclose()
    with capture_logs() as lines:
        beating = asyncio.create_task(heartbeat.keep_alive(context, slots=1))
        async with asyncio.timeout(60):
            while len(lines) < 3:
                await asyncio.sleep(0.01)
        beating.cancel()
        with pytest.raises(DatabaseUnavailableError):
            await beating
    assert {line["event"] for line in lines} == {"worker.silent"}


def test_while_memory_is_short_no_idle_child_is_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, children=3, memory_reserve_bytes=2**60)
    assert heartbeat.spare_children(settings) == -3
    settings = Settings(data_dir=tmp_path, children=3, memory_reserve_bytes=0)
    assert heartbeat.spare_children(settings) >= 0


def test_a_data_folder_that_is_away_is_a_shortage_and_no_crash(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "unmounted")
    assert (
        heartbeat.shortage(settings) == "the data folder can't be read: No such file or directory"
    )
