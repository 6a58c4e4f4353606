"""`batchmill status`, `watch`, `pause`, `resume`, `cancel`, `retry`: batches on a server."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.command import ALL_FINE
from batchmill.cli.remote import BatchArgument, RemoteOptions, with_client

if TYPE_CHECKING:
    from batchmill.client.async_client import AsyncClient

NEWEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOptions(RemoteOptions):
    """A batch, or none: the newest."""

    batch: Annotated[
        str | None,
        typer.Argument(metavar="BATCH", help="The batch's id; left out: the newest batches."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions(BatchArgument):
    """A batch to be watched."""

    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the end.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions(BatchArgument):
    """Which failed items run again."""

    group: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Only failures of this cause; `status` lists causes."),
    ] = None
    ids: Annotated[
        list[str] | None,
        typer.Option("--ids", metavar="ITEM", help="Only this item; may be repeated."),
    ] = None


def status(options: StatusOptions) -> int:
    """Show how far a batch is, and why files failed.

    [bold]Examples[/bold]

        batchmill status

        batchmill status bat_01k…

        batchmill status bat_01k… --json | jq .progress.percent
    """
    return with_client(options, lambda client: _status(client, options))


def watch(options: WatchOptions) -> int:
    """Follow a batch until it has ended.

    Ending the watch with Ctrl-C does not touch the batch. A restart of the server is waited for.

    [bold]Exit status[/bold]

    0 all files done, 1 some failed or the batch was cancelled, 3 no server, 130 interrupted.
    """
    return with_client(options, lambda client: _watch(client, options))


def pause(options: BatchArgument) -> int:
    """Start no more files of a batch; running ones finish."""
    return with_client(options, lambda client: _ordered(client, options, "pause"))


def resume(options: BatchArgument) -> int:
    """Go on with a paused batch."""
    return with_client(options, lambda client: _ordered(client, options, "resume"))


def cancel(options: BatchArgument) -> int:
    """End a batch: waiting files are cancelled, running ones stopped, results kept."""
    return with_client(options, lambda client: _ordered(client, options, "cancel"))


def retry(options: RetryOptions) -> int:
    """Run failed files of a batch again: all of them, those of one cause, or single ones.

    [bold]Examples[/bold]

        batchmill retry bat_01k…

        batchmill retry bat_01k… --group 3f2a
    """
    return with_client(options, lambda client: _retry(client, options))


async def _status(client: "AsyncClient", options: StatusOptions) -> int:
    from batchmill.cli import batch_text

    if options.batch is None:
        newest = []
        async for batch in client.batches():
            newest.append(batch)
            if len(newest) == NEWEST:
                break
        batch_text.several(newest, as_json=options.json)
        return ALL_FINE
    batch = await client.batch(options.batch)
    failed = batch.counts.failed + batch.counts.quarantined
    causes = await client.failures(batch.id) if failed else []
    batch_text.one(batch, causes, as_json=options.json)
    return ALL_FINE


async def _watch(client: "AsyncClient", options: WatchOptions) -> int:
    from batchmill.cli import batch_text
    from batchmill.cli.batch_bar import BatchBar

    with BatchBar(quiet=options.quiet or options.json) as bar:
        async for batch in client.watch(options.batch):
            bar.show(batch)
            if options.json:
                batch_text.line(batch)
    if not options.json:
        causes = await client.failures(batch.id) if batch.counts.failed else []
        batch_text.one(batch, causes, as_json=False)
    return batch_text.exit_code(batch)


async def _ordered(client: "AsyncClient", options: BatchArgument, action: str) -> int:
    from batchmill.cli import batch_text

    batch = await getattr(client, action)(options.batch)
    batch_text.one(batch, [], as_json=options.json)
    return ALL_FINE


async def _retry(client: "AsyncClient", options: RetryOptions) -> int:
    from batchmill.cli import batch_text
    from batchmill.cli.text import files

    retried = await client.retry(options.batch, group=options.group, ids=options.ids)
    if not options.json:
        print(f"{files(retried.retried)} to be tried again")
    batch_text.one(retried.batch, [], as_json=options.json)
    return ALL_FINE
