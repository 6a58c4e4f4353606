"""`batchmill keys`: API keys, made and revoked on the server's own machine."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.command import ALL_FINE

if TYPE_CHECKING:
    from batchmill.db.connect import Database

DataDir = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="The server's folder; by default ./batchmill-data."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateOptions:
    """What the key is for."""

    name: Annotated[str, typer.Option(help="What the key is for, so that you know it again.")]
    tier: Annotated[
        str, typer.Option(help="enterprise, premium, pro, test_premium, free or anonymous.")
    ] = "free"
    owner: Annotated[
        str, typer.Option(help="Whose batches it opens; every owner sees only its own.")
    ] = "local"
    read_only: Annotated[bool, typer.Option("--read-only", help="It may look, not change.")] = False
    admin: Annotated[bool, typer.Option("--admin", help="It may also make and revoke keys.")] = (
        False
    )
    data_dir: DataDir = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """Which server's keys."""

    data_dir: DataDir = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeOptions:
    """Which key."""

    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id: key_…")]
    data_dir: DataDir = None


def create(options: CreateOptions) -> int:
    """Make an API key and print it; it is shown this once and kept only as a hash.

    [bold]Examples[/bold]

        batchmill keys create --name shop --tier pro --owner shop

        batchmill keys create --name me --admin
    """
    from batchmill.model.access import Scope
    from batchmill.model.batch import OwnerId
    from batchmill.service import api_keys

    scopes: tuple[Scope, ...] = (Scope.READ,) if options.read_only else (Scope.READ, Scope.WRITE)
    scopes += (Scope.ADMIN,) if options.admin else ()
    grant = api_keys.Grant(options.name, OwnerId(options.owner), options.tier, scopes)

    async def ask(database: "Database") -> None:
        made, secret = await api_keys.create(database, grant, by=None)
        typer.echo(
            f"{made.id}: send it as `Authorization: Bearer …`. It is not shown again:", err=True
        )
        print(secret)

    return _with_database(options.data_dir, ask)


def list_keys(options: ListOptions) -> int:
    """List all API keys, the newest first, without their secrets."""
    from batchmill.service import api_keys

    async def ask(database: "Database") -> None:
        for key in await api_keys.listed(database, None):
            state = "revoked" if key.revoked_at else ",".join(key.scopes)
            used = f"used {key.used_at:%Y-%m-%d}" if key.used_at else "never used"
            print(
                f"{key.id}  {key.tier:<12}  {key.owner_id:<16}  {state:<18}  {used:<15}  {key.name}"
            )

    return _with_database(options.data_dir, ask)


def revoke(options: RevokeOptions) -> int:
    """End an API key for good; servers refuse it from the next request on."""
    from batchmill.model.access import KeyId
    from batchmill.service import api_keys

    async def ask(database: "Database") -> None:
        await api_keys.revoke(database, KeyId(options.key), owner_id=None)

    return _with_database(options.data_dir, ask)


def _with_database(
    data_dir: Path | None, ask: "Callable[[Database], Coroutine[Any, Any, None]]"
) -> int:
    """Run `ask` beside a server that may be running: SQLite takes turns."""
    import asyncio

    from batchmill import private
    from batchmill.cli.serve import settings_of
    from batchmill.db.connect import Database
    from batchmill.db.migrate import migrate

    settings = settings_of(data_dir)
    private.make_folder(settings.data_dir)

    async def run() -> None:
        database = Database(settings.database)
        try:
            await asyncio.to_thread(migrate, database.engine)
            await ask(database)
        finally:
            await database.aclose()

    asyncio.run(run())
    return ALL_FINE
