"""`batchmill submit`: files to a server, to be worked on there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from batchmill.cli.command import ALL_FINE
from batchmill.cli.flags import Recursive, StepSettings
from batchmill.cli.remote import RemoteOptions, with_client
from batchmill.errors.request import UsageError

if TYPE_CHECKING:
    from batchmill.client.async_client import AsyncClient
    from batchmill.client.endpoints import FileUpload
    from batchmill.wire import requests, responses

_BATCH = "Batch"
_THEN = "Then"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOptions(RemoteOptions):
    """What is sent, and what to do then."""

    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="A preset of the server, or a pipeline file of yours: .toml or .json.",
        ),
    ]
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH…",
            help="Folders, files, quoted patterns; a ZIP becomes one item per entry; "
            "- reads paths from stdin.",
        ),
    ]
    recursive: Recursive = True
    settings: StepSettings = None
    name: Annotated[str | None, typer.Option(help="Name for people.", rich_help_panel=_BATCH)] = (
        None
    )
    tag: Annotated[str | None, typer.Option(help="Label to filter by.", rich_help_panel=_BATCH)] = (
        None
    )
    priority: Annotated[
        str,
        typer.Option(
            metavar="high|normal|low|1-15",
            help="Who runs first among your own.",
            rich_help_panel=_BATCH,
        ),
    ] = "normal"
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j", "--jobs", min=1, help="Files at once; 1 is one by one.", rich_help_panel=_BATCH
        ),
    ] = None
    halt_after: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            min=0,
            max=100,
            help="Stop the batch once more than this share of its files has failed.",
            rich_help_panel=_BATCH,
        ),
    ] = None
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="ID|URL",
            help="A webhook of yours that is told of the end.",
            rich_help_panel=_THEN,
        ),
    ] = None
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the batch to its end.", rich_help_panel=_THEN)
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Wait, and save the results here.",
            rich_help_panel=_THEN,
        ),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.", rich_help_panel=_THEN)] = (
        False
    )


def submit(options: SubmitOptions) -> int:
    """Send files to a server; prints the batch's id.

    Files are streamed from the disk, many of them in several requests. When the connection breaks
    it goes on; when the command is ended before everything is sent, the batch is cancelled.

    [bold]Examples[/bold]

        batchmill submit web photos/

        batchmill submit face-crop ids.zip --wait -o crops/

        id=$(batchmill submit analyze contracts/) && batchmill watch $id

    [bold]Exit status[/bold]

    0 sent (with --wait: all files done), 1 some files failed, 2 refused, 3 no server.
    """
    return with_client(options, lambda client: _submit(client, options))


async def _submit(client: "AsyncClient", options: SubmitOptions) -> int:
    from batchmill.cli.byte_bar import ByteBar

    files = _found(options)
    total = sum(file.bytes for file in files)
    with ByteBar("sending", total=total, quiet=options.quiet) as bar:
        batch = await client.submit(
            files, options.preset, options=_order(options), on_bytes=bar.add
        )
    if not options.json:
        print(batch.id, flush=True)
    if options.wait or options.output is not None:
        return await _waited(client, batch, options)
    if options.json:
        print(batch.model_dump_json())
    return ALL_FINE


async def _waited(client: "AsyncClient", batch: "responses.Batch", options: SubmitOptions) -> int:
    from batchmill.cli import batch_text
    from batchmill.cli.batch_bar import BatchBar

    with BatchBar(quiet=options.quiet) as bar:
        batch = await client.wait(batch.id, on_change=bar.show)
    if options.output is not None:
        async for _ in client.download_files(batch.id, options.output):
            pass
    failed = batch.counts.failed + batch.counts.quarantined
    causes = await client.failures(batch.id) if failed else []
    batch_text.one(batch, causes, as_json=options.json)
    return batch_text.exit_code(batch)


def _found(options: SubmitOptions) -> "list[FileUpload]":
    from batchmill.cli.run.plan import named
    from batchmill.client.endpoints import FileUpload
    from batchmill.local.inputs import Search

    found = named(options.paths, Search(options.recursive, unpack=False))
    if not found:
        raise UsageError(f"No files were found in {', '.join(options.paths)}.")
    return [FileUpload(file.path, file.name, file.bytes) for file in found]


def _order(options: SubmitOptions) -> "requests.BatchOptions":
    from pydantic import ValidationError

    from batchmill.local.pipelines import parse_setting
    from batchmill.wire import requests

    steps: dict[str, dict[str, object]] = {}
    for setting in options.settings or ():
        step, option, value = parse_setting(setting)
        steps.setdefault(step, {})[option] = value
    try:
        return requests.BatchOptions(
            name=options.name,
            tag=options.tag,
            priority=_priority(options.priority),
            concurrency=options.jobs,
            on_failure=requests.OnFailure(halt_after_pct=options.halt_after),
            step_options=steps,
            webhook=options.webhook,
        )
    except ValidationError as error:
        raise UsageError(str(error.errors()[0]["msg"])) from error


def _priority(text: str) -> "Literal['high', 'normal', 'low'] | int":
    from batchmill.model.priority import RANKS, rank

    try:
        rank(text)
    except ValueError as error:
        known = ", ".join(RANKS)
        raise UsageError(f"--priority {text!r} must be {known} or 1 to 15.") from error
    return int(text) if text.isdecimal() else cast("Literal['high', 'normal', 'low']", text)
