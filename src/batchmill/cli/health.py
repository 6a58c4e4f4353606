"""`batchmill health`: one question, answered by the exit status, for container platforms."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from batchmill.cli.command import ALL_FINE, SOME_FAILED

if TYPE_CHECKING:
    from batchmill.settings.fields import Settings

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthOptions:
    """Who is asked."""

    worker: Annotated[
        bool, typer.Option("--worker", help="Ask the worker instead of the server.")
    ] = False


def health(options: HealthOptions) -> int:
    """Ask the server of this machine, or its worker, whether it lives.

    A worker answers where BATCHMILL_HEALTH_PORT is set.

    [bold]Exit status[/bold]

    0 it lives, 1 it does not answer.
    """
    import os
    from http.client import HTTPConnection, HTTPException

    from batchmill.settings import loading

    settings = loading.load(os.environ, loading.read_file(os.environ))
    place = (_host(settings), _port(settings, of_worker=options.worker))
    connection = HTTPConnection(*place, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/healthz")
        alive = connection.getresponse().read() == b"ok\n"
    except (OSError, HTTPException) as error:
        print(f"Nobody answers at {place[0]}:{place[1]} ({error}).")
        return SOME_FAILED
    finally:
        connection.close()
    print("alive" if alive else f"Somebody else answers at {place[0]}:{place[1]}.")
    return ALL_FINE if alive else SOME_FAILED


def _host(settings: "Settings") -> str:
    """Return the address to ask: who listens on all of them also hears this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104


def _port(settings: "Settings", *, of_worker: bool) -> int:
    from batchmill.errors.request import UsageError

    if not of_worker:
        return settings.port
    if settings.health_port is None:
        raise UsageError("Set BATCHMILL_HEALTH_PORT, for the worker and for this command.")
    return settings.health_port
