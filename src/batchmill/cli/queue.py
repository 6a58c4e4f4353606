"""`batchmill queue`: how much waits, runs, is done and failed, for each family of work."""

from typing import TYPE_CHECKING

from batchmill.cli.command import ALL_FINE
from batchmill.cli.remote import RemoteOptions, with_client

if TYPE_CHECKING:
    from batchmill.client.async_client import AsyncClient
    from batchmill.wire.responses import ItemCounts
    from batchmill.wire.system import Queue


def queue(options: RemoteOptions) -> int:
    """Count the files that wait, run, are done and failed, for each family of work.

    It counts the batches that are still kept: yours, or with an administrator's key all of them.
    With --json it tells all that the server knows of its queue.

    [bold]Examples[/bold]

        batchmill queue

        batchmill queue --json | jq .families.faceDetection.processing
    """
    return with_client(options, lambda client: _show(client, options))


async def _show(client: "AsyncClient", options: RemoteOptions) -> int:
    found = await client.queue()
    print(found.model_dump_json() if options.json else text(found))
    return ALL_FINE


def text(queue: "Queue") -> str:
    """Return the queue as a table, and below it who works and why nothing is started."""
    from batchmill.cli.text import clean, table

    head = ("family", "waiting", "active", "completed", "failed")
    rows = [(clean(name), *_counts(counts)) for name, counts in queue.families.items()]
    lines = [table([head, *rows], right_from=1), ""]
    lines.append(
        f"{queue.slots} slots of {queue.workers} workers; "
        f"{queue.ended.minute} files ended in the last minute, {queue.ended.hour} in the last hour"
    )
    if queue.paused:
        lines.append(f"The queue is paused: {clean(queue.pause_reason or '')}")
    elif queue.standstill:
        lines.append(clean(queue.standstill))
    return "\n".join(lines)


def _counts(counts: "ItemCounts") -> tuple[str, ...]:
    waiting = counts.pending + counts.queued + counts.retrying
    failed = counts.failed + counts.quarantined + counts.cancelled
    done = counts.completed + counts.skipped
    return tuple(str(number) for number in (waiting, counts.processing, done, failed))
