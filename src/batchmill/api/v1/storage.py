"""What lies in the storage and belongs to nothing that is known, and letting it be removed."""

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Asking, Context
from batchmill.api.http import openapi_bodies
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.db import orphans, pauses
from batchmill.db.connect import Connection
from batchmill.service.orphans import confirm
from batchmill.wire import requests, system

router = APIRouter(tags=["system"])

SHOWN = 100


@router.get("/v1/storage/cleanup", response_model=system.Cleanup)
async def cleanup(request: Request, asking: Asking) -> Response:
    """Tell what is to be removed because no batch or upload has it. For administrators."""
    auth.refuse_unless_admin(asking.caller)
    return serialize.conditional(request, await _cleanup(asking))


@router.post(
    "/v1/storage/cleanup",
    response_model=system.Cleanup,
    openapi_extra=openapi_bodies.CONFIRM_CLEANUP,
)
async def confirm_cleanup(request: Request, asking: Asking) -> Response:
    """Let all that is known now be removed a day after it was found. For administrators."""
    auth.refuse_unless_admin(asking.caller)
    sent = await submissions.read_json(request, asking)
    checked(requests.CleanupConfirmed, sent.value, "The request")
    await confirm(asking.server)
    return serialize.answer(await _cleanup(asking))


async def _cleanup(asking: Context) -> system.Cleanup:
    return await asking.server.database.read(_read)


def _read(conn: Connection) -> system.Cleanup:
    pause = pauses.of_cleanup(conn)
    return system.Cleanup(
        paused=pause is not None,
        pause_reason=pause.reason if pause else None,
        paused_at=pause.since if pause else None,
        orphans=orphans.count(conn),
        oldest=[
            system.Orphan(
                kind=each.kind, name=each.name, found_at=each.first_at, confirmed=each.confirmed
            )
            for each in orphans.oldest(conn, limit=SHOWN)
        ],
    )
