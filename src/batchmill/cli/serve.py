"""`batchmill serve`, `worker` and `migrate`: the processes of a server, and its database."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.command import ALL_FINE

if TYPE_CHECKING:
    from batchmill.settings.fields import Settings

DataDir = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where everything is kept; by default ./batchmill-data."),
]
Children = Annotated[
    int | None,
    typer.Option(
        "-j", "--jobs", metavar="N", min=1, help="Files at once; by default as many as cores."
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where to listen and where to keep things."""

    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; by default 127.0.0.1, this machine alone."),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="By default 3001; 0 takes a free one."),
    ] = None
    data_dir: DataDir = None
    jobs: Children = None
    worker: Annotated[
        bool,
        typer.Option("--worker/--no-worker", help="Whether this process also works on files."),
    ] = True
    adopt_storage: Annotated[
        bool,
        typer.Option(
            "--adopt-storage",
            help="Take over a storage that lacks this database's mark, or is newer than it.",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker works with."""

    data_dir: DataDir = None
    jobs: Children = None
    health_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Answer /healthz and /readyz there; by default not."),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateOptions:
    """Which database."""

    data_dir: DataDir = None


def serve(options: ServeOptions) -> int:
    """Run the server: HTTP API, web page and worker in one process tree.

    Nothing else is needed. Other settings come from the environment or the TOML file that
    BATCHMILL_CONFIG names. Ctrl-C or SIGTERM lets running files end, for up to 25 s.

    [bold]Examples[/bold]

        batchmill serve

        batchmill serve --port 8080 --data-dir /srv/batchmill
    """
    import asyncio
    import os

    from batchmill import bootstrap
    from batchmill.settings import loading

    flags = {
        "host": options.host,
        "port": options.port,
        "data_dir": options.data_dir,
        "children": options.jobs,
    }
    running = bootstrap.serve(
        _settings(flags),
        with_worker=options.worker,
        adopt=options.adopt_storage,
        on_ready=_ready,
        on_admin_link=_offer,
        origins=loading.origins(os.environ, loading.read_file(os.environ), flags),
    )
    asyncio.run(running)
    return ALL_FINE


def worker(options: WorkerOptions) -> int:
    """Work on files for servers elsewhere; start as many as you like, on any machine.

    Shares with the servers a database (BATCHMILL_DATABASE_URL) and a storage
    (BATCHMILL_STORAGE_URL, or a folder that all of them reach), and needs nothing else. SIGTERM
    lets running files end, for up to 25 s, and hands back what did not.

    [bold]Examples[/bold]

        export BATCHMILL_DATABASE_URL=postgresql://mill@db/mill

        batchmill worker -j 8

        batchmill serve --no-worker                 # the server whose work it does
    """
    import asyncio

    from batchmill import bootstrap

    settings = _settings(
        {
            "data_dir": options.data_dir,
            "children": options.jobs,
            "health_port": options.health_port,
        }
    )
    asyncio.run(bootstrap.work_only(settings, on_ready=_at_work))
    return ALL_FINE


def migrate(options: MigrateOptions) -> int:
    """Bring the database to the newest schema. Servers and workers do so by themselves."""
    import asyncio

    from batchmill import private
    from batchmill.db.connect import Database
    from batchmill.db.migrate import migrate as bring_up

    settings = settings_of(options.data_dir)
    private.make_folder(settings.data_dir)
    database = Database(settings.database)
    try:
        changed = bring_up(database.engine)
    finally:
        asyncio.run(database.aclose())
    print("The database has the newest schema now." if changed else "Nothing was to be done.")
    return ALL_FINE


def _settings(flags: Mapping[str, object]) -> "Settings":
    """Load the settings and start the log."""
    import os

    from batchmill import logs, private
    from batchmill.logs import Event
    from batchmill.settings import loading

    private.keep_new_files_private()
    settings = loading.load(os.environ, loading.read_file(os.environ), flags)
    logs.set_up(level=settings.log_level, style=settings.log_format)
    for sentence in loading.unknown_variables(os.environ):
        logs.warning(Event.SETTING_UNKNOWN, message=sentence)
    return settings


def settings_of(data_dir: Path | None) -> "Settings":
    """Load the settings for a command that needs only the database."""
    return _settings({"data_dir": data_dir})


def _offer(link: str) -> None:
    print(f"Open this once to be the administrator: {link}", flush=True)


def _ready(address: str) -> None:
    print(f"batchmill listens on {address}", flush=True)


def _at_work(name: str) -> None:
    print(f"batchmill worker {name} takes files", flush=True)
