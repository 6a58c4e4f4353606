"""A worker whose attempts do nothing, in its own process and without a child: delivery alone.

    python benchmarks/inline_worker.py DATABASE_URL FOLDER SLOTS

Says `takes files` once it works; told to stop by SIGTERM it prints as JSON how many statements and
commits it sent, and the CPU seconds that it used since it was ready.
"""

import asyncio
import json
import resource
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Engine, event

from batchmill.attempt.run import Finished
from batchmill.bootstrap import opened, stop_at_signals
from batchmill.model.item import Result
from batchmill.service.scheduling.transitions import Claimed
from batchmill.settings.fields import Settings
from batchmill.worker import WorkLoop, at_work

SENT: Counter[str] = Counter()


@asynccontextmanager
async def nothing(claimed: Claimed, report: Callable[[float], None]) -> AsyncIterator[Finished]:
    """Succeed without a file."""
    yield Finished(Result(), (), Path())


async def main(url: str, folder: Path, slots: int) -> None:
    """Work until SIGTERM."""
    stopping = asyncio.Event()
    stop_at_signals(stopping)
    settings = Settings(data_dir=folder, database_url=url, log_level="warning")
    async with opened(settings, adopt=True) as server:
        worker = WorkLoop(server, nothing, slots=slots)
        async with at_work(server, worker, slots=slots, stopping=stopping):
            SENT.clear()
            began_s = _cpu_s()
            print("takes files", flush=True)
            await stopping.wait()
    print(json.dumps({**SENT, "cpu_s": _cpu_s() - began_s}), flush=True)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@event.listens_for(Engine, "before_cursor_execute")
def _statement(*_told: object) -> None:
    SENT["statements"] += 1


@event.listens_for(Engine, "commit")
def _commit(_conn: object) -> None:
    SENT["commits"] += 1


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
