"""`batchmill report` and `download`: what a batch on a server has come to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from batchmill.cli.command import ALL_FINE
from batchmill.cli.remote import BatchArgument, with_client
from batchmill.errors.item import OutputUnwritableError
from batchmill.errors.request import UsageError

if TYPE_CHECKING:
    from batchmill.cli.byte_bar import ByteBar
    from batchmill.client.async_client import AsyncClient


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions(BatchArgument):
    """Which report."""

    format: Annotated[
        Literal["csv", "jsonl", "stock"],
        typer.Option(
            help="csv opens in a spreadsheet, jsonl has every field, stock is the CSV that stock "
            "agencies take: file name, title, keywords, category."
        ),
    ] = "jsonl"
    status: Annotated[
        str | None,
        typer.Option(metavar="STATUS", help="Only items of this status, as failed."),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write here, not on stdout."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions(BatchArgument):
    """Where results go."""

    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="The ZIP to write; with --extract or --one-by-one the folder.",
        ),
    ]
    extract: Annotated[bool, typer.Option("--extract", help="Unpack the ZIP into the folder.")] = (
        False
    )
    one_by_one: Annotated[
        bool,
        typer.Option(
            "--one-by-one",
            help="Download file by file, also while the batch runs; leaves out what is there.",
        ),
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False


def report(options: ReportOptions) -> int:
    """Write one line for each file: what was sent, what was made, or why it failed.

    [bold]Examples[/bold]

        batchmill report bat_01k… --format csv -o report.csv

        batchmill report bat_01k… --status failed | jq -r .error.message

        batchmill report bat_01k… --format stock -o stock.csv
    """
    return with_client(options, lambda client: _report(client, options))


def download(options: DownloadOptions) -> int:
    """Download the results of a batch.

    A download that was broken off goes on where it was when the command is given again.

    [bold]Examples[/bold]

        batchmill download bat_01k… -o results.zip

        batchmill download bat_01k… -o results/ --extract
    """
    return with_client(options, lambda client: _download(client, options))


async def _report(client: "AsyncClient", options: ReportOptions) -> int:
    import sys

    pieces = client.report(options.batch, format=options.format, status=options.status)
    if options.output is None:
        async for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return ALL_FINE
    part = options.output.with_name(f".{options.output.name}.part")
    try:
        with part.open("wb") as file:
            async for piece in pieces:
                file.write(piece)
        part.replace(options.output)
    except OSError as error:
        raise OutputUnwritableError(str(options.output), str(error.strerror)) from error
    finally:
        part.unlink(missing_ok=True)
    return ALL_FINE


async def _download(client: "AsyncClient", options: DownloadOptions) -> int:
    from batchmill.cli.byte_bar import ByteBar

    if options.extract and options.one_by_one:
        raise UsageError("--extract and --one-by-one exclude each other.")
    with ByteBar("downloading", quiet=options.quiet) as bar:
        if options.one_by_one:
            return await _one_by_one(client, options, bar)
        archive = _archive_path(options)
        await client.download(options.batch, archive, on_bytes=bar.add)
    if options.extract:
        return await _extracted(archive, options)
    _tell(options, {"file": str(archive)}, str(archive))
    return ALL_FINE


async def _one_by_one(client: "AsyncClient", options: DownloadOptions, bar: "ByteBar") -> int:
    paths = client.download_files(options.batch, options.output, on_bytes=bar.add)
    async for item, path in paths:
        _tell(options, {"item_id": item.id, "file": str(path)}, str(path))
    return ALL_FINE


async def _extracted(archive: Path, options: DownloadOptions) -> int:
    import asyncio

    from batchmill.client.downloads import extract

    number = await asyncio.to_thread(extract, archive, options.output, remove=True)
    _tell(options, {"folder": str(options.output), "files": number}, str(options.output))
    return ALL_FINE


def _archive_path(options: DownloadOptions) -> Path:
    """Return where the ZIP goes: the file named, or one inside the folder named."""
    name = f"{options.batch}.zip"
    if options.extract:
        return options.output / f".{name}"
    return options.output / name if options.output.is_dir() else options.output


def _tell(options: DownloadOptions, body: dict[str, object], text: str) -> None:
    import json

    print(json.dumps(body) if options.json else text, flush=True)
