"""What lies in the storage and belongs to nothing that is known, and letting it be removed."""

from fastapi import APIRouter, Request, Response

from batchmill.api import auth, serialize
from batchmill.api.context import Ctx, RequestContext
from batchmill.api.http import openapi_bodies
from batchmill.api.http.problems import checked
from batchmill.api.submission import submissions
from batchmill.service import orphans
from batchmill.wire import requests, system

router = APIRouter(tags=["system"])

SHOWN = 100


@router.get("/v1/storage/cleanup", response_model=system.Cleanup)
async def cleanup(request: Request, ctx: Ctx) -> Response:
    """Tell what is to be removed because no batch or upload has it. For administrators."""
    auth.refuse_unless_admin(ctx.caller)
    return serialize.conditional(request, await _cleanup(ctx))


@router.post(
    "/v1/storage/cleanup",
    response_model=system.Cleanup,
    openapi_extra=openapi_bodies.CONFIRM_CLEANUP,
)
async def confirm_cleanup(request: Request, ctx: Ctx) -> Response:
    """Let all that is known now be removed a day after it was found. For administrators."""
    auth.refuse_unless_admin(ctx.caller)
    sent = await submissions.read_json(request, ctx)
    checked(requests.CleanupConfirmed, sent.value, "The request")
    await orphans.confirm(ctx.server)
    return serialize.answer(await _cleanup(ctx))


async def _cleanup(ctx: RequestContext) -> system.Cleanup:
    state = await orphans.state(ctx.server, shown=SHOWN)
    pause = state.pause
    return system.Cleanup(
        paused=pause is not None,
        pause_reason=pause.reason if pause else None,
        paused_at=pause.since if pause else None,
        orphans=state.orphans,
        oldest=[
            system.Orphan(
                kind=each.kind, name=each.name, found_at=each.first_at, confirmed=each.confirmed
            )
            for each in state.oldest
        ],
    )
