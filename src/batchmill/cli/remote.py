"""What commands that talk to a server have in common."""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from batchmill.client.async_client import AsyncClient

SERVER_PANEL = "Server"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """Which server, and how to answer."""

    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the server; by default BATCHMILL_SERVER or http://127.0.0.1:3001.",
            rich_help_panel=SERVER_PANEL,
        ),
    ] = None
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Better set BATCHMILL_API_KEY: other users can read command lines.",
            rich_help_panel=SERVER_PANEL,
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchArgument(RemoteOptions):
    """A server and one of its batches."""

    batch: Annotated[str, typer.Argument(metavar="BATCH", help="The batch's id: bat_…")]


def with_client(
    options: RemoteOptions, ask: "Callable[[AsyncClient], Coroutine[Any, Any, int]]"
) -> int:
    """Run `ask(client)` to its exit code.

    Raises:
        BatchmillError: what the server answered, or that there is none.
    """
    import asyncio

    from batchmill.client.async_client import AsyncClient
    from batchmill.settings import loading

    flags = {"server": options.server, "api_key": options.api_key}
    settings = loading.load(os.environ, loading.read_file(os.environ), flags)
    key = settings.api_key.get_secret_value() if settings.api_key else None

    async def run() -> int:
        async with AsyncClient(settings.server, api_key=key) as client:
            return await ask(client)

    return asyncio.run(run())
