"""The options of `batchmill run`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from batchmill.cli.flags import Recursive, StepSettings

_OUTPUT = "Output"
_PIPELINE = "Pipeline"
_WORK = "How to work"
_RESUME = "Going on later"
_SAY = "What to say"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says."""

    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET",
            help="A preset (`batchmill presets` lists them) or a pipeline file: .toml or .json.",
        ),
    ]
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH…",
            help="Folders, files, quoted patterns, ZIP archives; - reads paths from stdin.",
        ),
    ]
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            help="Where results go; the tree of the input folder is kept.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Path of a result, of {dir} {stem} {ext} {name} {w} {h} {index} {step}; "
            "by default {dir}/{stem}.{ext}.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace results that exist.", rich_help_panel=_OUTPUT),
    ] = False
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out files whose result exists.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False
    format: Annotated[
        str | None,
        typer.Option(
            "-f",
            "--format",
            help="jpeg, png, webp, avif, tiff, gif or auto (the smallest).",
            rich_help_panel=_PIPELINE,
        ),
    ] = None
    quality: Annotated[
        int | None,
        typer.Option("-q", "--quality", help="1 to 100.", rich_help_panel=_PIPELINE),
    ] = None
    settings: StepSettings = None
    recursive: Recursive = True
    jobs: Annotated[
        str | None,
        typer.Option(
            "-j",
            "--jobs",
            metavar="N|N%",
            help="Files at once, or a share of the processor cores; by default what the preset "
            "says, else all cores.",
            rich_help_panel=_WORK,
        ),
    ] = None
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="One file at a time.", rich_help_panel=_WORK),
    ] = False
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Stop a file after this time; by default what the preset says, else 120.",
            rich_help_panel=_WORK,
        ),
    ] = None
    retries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Retries after errors that may pass; by default what the preset says, else 1.",
            rich_help_panel=_WORK,
        ),
    ] = None
    halt: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN,fail=N|N%",
            help="Give up after N failed files, or a share of all: soon lets running files end, "
            "now stops them. As in soon,fail=3%.",
            rich_help_panel=_WORK,
        ),
    ] = None
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Go on for ever with files that appear.", rich_help_panel=_WORK
        ),
    ] = False
    settle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="With --watch: take a file once it has not changed for this long.",
            rich_help_panel=_WORK,
        ),
    ] = 2.0
    joblog: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Note every file that has ended, one JSON line each.",
            rich_help_panel=_RESUME,
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Leave out files that the joblog has, unless file or pipeline changed.",
            rich_help_panel=_RESUME,
        ),
    ] = False
    resume_failed: Annotated[
        bool,
        typer.Option(
            "--resume-failed",
            help="The same, but try failed files again.",
            rich_help_panel=_RESUME,
        ),
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option("-n", "--dry-run", help="Say what would be done.", rich_help_panel=_SAY),
    ] = False
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Take only N files, spread over all, and estimate the rest.",
            rich_help_panel=_SAY,
        ),
    ] = None
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON line a file on stdout.", rich_help_panel=_SAY),
    ] = False
    stock_csv: Annotated[
        Path | None,
        typer.Option(
            "--stock-csv",
            metavar="FILE",
            help="After describe: titles and keywords as stock agencies take them.",
            rich_help_panel=_SAY,
        ),
    ] = None
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="No progress and no table.", rich_help_panel=_SAY),
    ] = False
