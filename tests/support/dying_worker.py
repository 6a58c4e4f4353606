"""A worker of its own process that a file of a certain name kills, 10 ms after it began.

    python dying_worker.py DATABASE_URL FOLDER NAME

It has no child: an attempt ends where it begins. It works until it is killed or told to stop.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from batchmill.attempt.run import Finished
from batchmill.bootstrap import opened, stop_at_signals
from batchmill.model.item import Result
from batchmill.service.scheduling.transitions import Claimed
from batchmill.settings.fields import Settings
from batchmill.worker import WorkLoop, at_work


async def main(url: str, folder: Path, deadly: str) -> None:
    @asynccontextmanager
    async def attempt(claimed: Claimed, report: Callable[[float], None]) -> AsyncIterator[Finished]:
        if claimed.input.name == deadly:
            await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        yield Finished(Result(), (), Path())

    stopping = asyncio.Event()
    stop_at_signals(stopping)
    quick = {"lease_s": 1.2, "renew_s": 0.4, "sweep_s": 0.2, "leader_s": 1, "log_level": "warning"}
    settings = Settings(data_dir=folder, database_url=url, **quick)
    async with opened(settings, adopt=True) as server:
        worker = WorkLoop(server, attempt, slots=3)
        async with at_work(server, worker, slots=2, stopping=stopping):
            await stopping.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
