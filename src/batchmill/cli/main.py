"""The command line's entry point: names every command, imports what one needs when it runs."""

from typing import Annotated

import typer

from batchmill import __version__
from batchmill.cli import run
from batchmill.cli.command import command

app = typer.Typer(
    name="batchmill",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"batchmill {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Mill batches of files: pictures and documents, by the hundred or by the million."""


command(app, "run", run.RunOptions)(run.run)


def main() -> None:
    """Run the command line."""
    app(prog_name="batchmill")
