"""`batchmill workers`: which processes work for a server."""

from typing import TYPE_CHECKING

from batchmill.cli.command import ALL_FINE
from batchmill.cli.remote import RemoteOptions, with_client

if TYPE_CHECKING:
    from batchmill.client.async_client import AsyncClient
    from batchmill.wire.told import Worker


def workers(options: RemoteOptions) -> int:
    """List the processes that are alive: servers and workers, and how much each does at once."""
    return with_client(options, lambda client: _workers(client, options))


async def _workers(client: "AsyncClient", options: RemoteOptions) -> int:
    from batchmill.cli.text import table

    alive = await client.workers()
    if options.json:
        for worker in alive:
            print(worker.model_dump_json())
    else:
        print(table([("worker", "host", "pid", "slots", "since"), *map(_row, alive)]))
    return ALL_FINE


def _row(worker: "Worker") -> tuple[str, ...]:
    from batchmill.cli.text import clean, day

    slots = "draining" if worker.draining else str(worker.slots)
    return worker.id, clean(worker.host), str(worker.pid), slots, day(worker.started_at)
