"""`batchmill workers`: who works for a server; more or fewer workers on this host."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.command import ALL_FINE, SOME_FAILED
from batchmill.cli.remote import RemoteOptions, with_client
from batchmill.cli.serve import Children, DataDir

if TYPE_CHECKING:
    from batchmill.cli.host_workers import Member
    from batchmill.client.async_client import AsyncClient
    from batchmill.wire.responses import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleOptions:
    """How many workers, and what each gets."""

    number: Annotated[int, typer.Argument(metavar="N", min=0, help="Workers on this host.")]
    jobs: Children = None
    data_dir: DataDir = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainOptions:
    """Which workers."""

    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME…]", help="As in `worker-2`; none: all.")
    ] = None
    data_dir: DataDir = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsOptions(DrainOptions):
    """Which workers, and how much of their logs."""

    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=1, help="Last lines of each log.")
    ] = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerArgument(RemoteOptions):
    """A server and one of its workers."""

    worker: Annotated[
        str,
        typer.Argument(
            metavar="WORKER", help="Its id or how that begins, or host:pid, as in `workers list`."
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPauseOptions(WorkerArgument):
    """Which worker, and why."""

    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What all users are told, at most 200 characters."),
    ] = None


def list_workers(options: RemoteOptions) -> int:
    """List the processes that are alive on all machines, and what waits for them.

    Servers that only serve have no slots. Below stand the files that wait and those at work.
    """
    return with_client(options, lambda client: _browse(client, options))


def stats(options: RemoteOptions) -> int:
    """Tell how much each worker has in hand, on all machines, and how full the queue is.

    `batchmill queue` tells the second part alone.
    """
    return with_client(options, lambda client: _stats(client, options))


def pause(options: WorkerPauseOptions) -> int:
    """Let one worker start nothing new until `resume`; what it runs it finishes.

    It hears of it within 4 s, and gives back what it has not begun, uncounted. It needs an
    administrator's key, or the server's own machine. The pause ends with the worker's process.

    [bold]Examples[/bold]

        batchmill workers pause wrk_01k --reason "its disk is being changed"

        batchmill workers resume wrk_01k
    """
    return with_client(options, lambda client: _pause(client, options))


def resume(options: WorkerArgument) -> int:
    """Let a paused worker go on."""
    return with_client(options, lambda client: _resume(client, options))


def scale(options: ScaleOptions) -> int:
    """Start workers on this host, or let some end, until N of them run.

    They go on when this command and the terminal are gone, and write to `workers/` in the data
    folder. Settings come from the environment, as for `batchmill worker`. Those that are too
    many finish the files they have.

    [bold]Examples[/bold]

        batchmill workers scale 2

        batchmill workers scale 5 -j 1
    """
    import os
    from itertools import islice

    from batchmill.cli import host_workers

    folder = _folder(options.data_dir)
    running = [member for member in host_workers.members(folder) if member.pid is not None]
    arguments = ["--data-dir", str(folder.parent)]
    arguments += ["-j", str(options.jobs)] if options.jobs else []
    new = list(islice(host_workers.free(folder), max(0, options.number - len(running))))
    failed = 0
    for member, process in [(each, each.start(arguments, os.environ)) for each in new]:
        if host_workers.took_up_work(process):
            print(f"{member.name} takes files (process {process.pid}, log {member.log})")
        else:
            failed += 1
            _show_log(member, 5)
    _drain(running[options.number :])
    return SOME_FAILED if failed else ALL_FINE


def drain(options: DrainOptions) -> int:
    """Let workers of this host finish the files they have and end; waits until they have.

    What is not finished within 25 s (BATCHMILL_DRAIN_S) goes back to the queue, uncounted.
    """
    chosen = _chosen(options)
    _drain([member for member in chosen if member.pid is not None])
    return ALL_FINE


def logs(options: LogsOptions) -> int:
    """Show the end of the logs of the workers that `scale` has started on this host."""
    for member in _chosen(options):
        _show_log(member, options.lines)
    return ALL_FINE


def _folder(data_dir: Path | None) -> Path:
    import os

    from batchmill.settings import loading

    file = loading.read_file(os.environ)
    return loading.load(os.environ, file, {"data_dir": data_dir}).data_dir / "workers"


def _chosen(options: DrainOptions) -> "list[Member]":
    from batchmill.cli import host_workers
    from batchmill.errors.request import UnknownNameError

    known = {member.name: member for member in host_workers.members(_folder(options.data_dir))}
    for name in options.names or ():
        if name not in known:
            raise UnknownNameError("worker", name, list(known))
    return [known[name] for name in options.names or known]


def _drain(members: "list[Member]") -> None:
    for member in members:
        member.ask_to_end()
    for member in members:
        member.wait()
        print(f"{member.name} has ended", flush=True)


def _show_log(member: "Member", lines: int) -> None:
    from batchmill.cli.text import clean

    print(f"==> {member.log} ({'runs' if member.pid else 'ended'}) <==")
    for line in member.last_lines(lines):
        print(clean(line))


async def _browse(client: "AsyncClient", options: RemoteOptions) -> int:
    from batchmill.cli.text import files, table
    from batchmill.errors.amounts import count

    alive, queue = await client.workers(), await client.queue()
    if options.json:
        for worker in alive:
            print(worker.model_dump_json())
        return ALL_FINE
    print(table([("worker", "host", "pid", "slots", "since"), *map(_row, alive)]))
    counts = queue.counts
    waiting = counts.pending + counts.queued + counts.retrying
    slots = count(queue.slots, "slot")
    print(f"\n{files(waiting)} waiting, {counts.processing} at work in {slots}")
    return ALL_FINE


async def _stats(client: "AsyncClient", options: RemoteOptions) -> int:
    from batchmill.cli import queue
    from batchmill.cli.text import clean, table

    alive, now = await client.workers(), await client.queue()
    if options.json:
        told = {"workers": [worker.model_dump(mode="json") for worker in alive]}
        print(json.dumps({**told, "queue": now.model_dump(mode="json")}))
        return ALL_FINE
    rows = [
        (worker.id, _slots(worker), str(worker.running), clean(worker.stats.get("short_of", "")))
        for worker in alive
    ]
    print(table([("worker", "slots", "at work", "short of"), *rows]))
    print(f"\n{queue.text(now)}")
    return ALL_FINE


def _row(worker: "Worker") -> tuple[str, ...]:
    from batchmill.cli.text import clean, day

    host, pid = clean(worker.host or "-"), str(worker.pid or "-")
    return worker.id, host, pid, _slots(worker), day(worker.started_at)


def _slots(worker: "Worker") -> str:
    from batchmill.cli.text import clean

    if worker.draining:
        return "draining"
    return f"paused ({clean(worker.pause_reason or '')})" if worker.paused else str(worker.slots)


async def _pause(client: "AsyncClient", options: WorkerPauseOptions) -> int:
    worker_id = await _find(client, options.worker)
    return _show(await client.pause_worker(worker_id, options.reason), options)


async def _resume(client: "AsyncClient", options: WorkerArgument) -> int:
    worker_id = await _find(client, options.worker)
    return _show(await client.resume_worker(worker_id), options)


async def _find(client: "AsyncClient", name: str) -> str:
    """Return the id of the one worker that a user means."""
    from batchmill.errors.request import UnknownNameError, UsageError

    alive = await client.workers()
    exact = [each.id for each in alive if name in (each.id, f"{each.host}:{each.pid}")]
    found = exact or [each.id for each in alive if each.id.startswith(name)]
    if not found:
        raise UnknownNameError("worker", name, [each.id for each in alive])
    if len(found) > 1:
        raise UsageError(f"{name!r} stands for several workers: {', '.join(found)}.")
    return found[0]


def _show(worker: "Worker", options: RemoteOptions) -> int:
    state = _slots(worker) if worker.paused else "takes files"
    print(worker.model_dump_json() if options.json else f"{worker.id}: {state}")
    return ALL_FINE
