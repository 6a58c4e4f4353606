"""Flags that mean the same to `run` and `submit`."""

from typing import Annotated

import typer

Recursive = Annotated[
    bool,
    typer.Option(
        "-r/-R",
        "--recursive/--no-recursive",
        help="Look into folders below the folders.",
        rich_help_panel="Files",
    ),
]
StepSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="STEP.OPTION=VALUE",
        help="Any option of any step, as in resize.width=800; may be repeated.",
        rich_help_panel="Pipeline",
    ),
]
