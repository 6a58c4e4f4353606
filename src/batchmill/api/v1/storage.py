"""What lies in the storage and belongs to nothing that is known, and letting it be removed."""

from fastapi import APIRouter, Request, Response

from batchmill.api import answers, auth, bodies, submissions
from batchmill.api.context import Asking, Context
from batchmill.api.problems import checked
from batchmill.db import orphans, pauses
from batchmill.db.connect import Connection
from batchmill.service.orphans import confirm
from batchmill.wire import asked, operating

router = APIRouter(tags=["system"])

SHOWN = 100


@router.get("/v1/storage/cleanup", response_model=operating.Cleanup)
async def cleanup(request: Request, asking: Asking) -> Response:
    """Tell what is to be removed because no batch or upload has it. For administrators."""
    auth.refuse_unless_admin(asking.caller)
    return answers.conditional(request, await _cleanup(asking))


@router.post(
    "/v1/storage/cleanup",
    response_model=operating.Cleanup,
    openapi_extra=bodies.CONFIRM_CLEANUP,
)
async def confirm_cleanup(request: Request, asking: Asking) -> Response:
    """Let all that is known now be removed a day after it was found. For administrators."""
    auth.refuse_unless_admin(asking.caller)
    sent = await submissions.read_json(request, asking)
    checked(asked.CleanupConfirmed, sent.value, "The request")
    await confirm(asking.mill)
    return answers.answer(await _cleanup(asking))


async def _cleanup(asking: Context) -> operating.Cleanup:
    return await asking.mill.database.read(_read)


def _read(conn: Connection) -> operating.Cleanup:
    pause = pauses.of_cleanup(conn)
    return operating.Cleanup(
        paused=pause is not None,
        pause_reason=pause.reason if pause else None,
        paused_at=pause.since if pause else None,
        orphans=orphans.count(conn),
        oldest=[
            operating.Orphan(
                kind=each.kind, name=each.name, found_at=each.first_at, confirmed=each.confirmed
            )
            for each in orphans.oldest(conn, limit=SHOWN)
        ],
    )
