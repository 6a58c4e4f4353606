"""The command line's entry point: names every command, imports what one needs when it runs."""

from typing import Annotated

import typer

from batchmill import __version__
from batchmill.cli import (
    batches,
    catalog,
    doctor,
    download,
    health,
    keys,
    queue,
    serve,
    submit,
    workers,
)
from batchmill.cli.command import command, default
from batchmill.cli.remote import BatchArgument, RemoteOptions
from batchmill.cli.run.command import run
from batchmill.cli.run.options import RunOptions

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
    """Process batches of files: pictures and documents, by the hundred or by the million."""


command(app, "run", RunOptions)(run)
command(app, "serve", serve.ServeOptions)(serve.serve)
command(app, "worker", serve.WorkerOptions)(serve.worker)
command(app, "health", health.HealthOptions)(health.health)
command(app, "submit", submit.SubmitOptions)(submit.submit)
command(app, "status", batches.StatusOptions)(batches.status)
command(app, "watch", batches.WatchOptions)(batches.watch)
command(app, "pause", BatchArgument)(batches.pause)
command(app, "resume", BatchArgument)(batches.resume)
command(app, "cancel", BatchArgument)(batches.cancel)
command(app, "retry", batches.RetryOptions)(batches.retry)
command(app, "report", download.ReportOptions)(download.report)
command(app, "download", download.DownloadOptions)(download.download)
command(app, "operations", catalog.OperationsOptions)(catalog.operations)
command(app, "presets", catalog.PresetsOptions)(catalog.presets)
keys_app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
command(keys_app, "create", keys.CreateOptions)(keys.create)
command(keys_app, "list", keys.ListOptions)(keys.list_keys)
command(keys_app, "revoke", keys.RevokeOptions)(keys.revoke)
workers_app = typer.Typer(help="See who works; pause a worker; start and end workers on this host.")
app.add_typer(workers_app, name="workers")
default(workers_app, RemoteOptions)(workers.list_workers)
command(workers_app, "list", RemoteOptions)(workers.list_workers)
command(workers_app, "stats", RemoteOptions)(workers.stats)
command(workers_app, "pause", workers.WorkerPauseOptions)(workers.pause)
command(workers_app, "resume", workers.WorkerArgument)(workers.resume)
command(workers_app, "scale", workers.ScaleOptions)(workers.scale)
command(workers_app, "drain", workers.DrainOptions)(workers.drain)
command(workers_app, "logs", workers.LogsOptions)(workers.logs)
command(app, "queue", RemoteOptions)(queue.queue)
command(app, "doctor", doctor.DoctorOptions)(doctor.doctor)
command(app, "migrate", serve.MigrateOptions)(serve.migrate)


def main() -> None:
    """Run the command line."""
    app(prog_name="batchmill")
