"""Streams of server-sent events: how one batch goes on, or several for a page."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from batchmill.api.context import Ctx, RequestContext
from batchmill.errors.outage import ServerBusyError
from batchmill.errors.request import InvalidFieldError
from batchmill.model.batch import Batch

router = APIRouter(prefix="/v1", tags=["events"])

MOST_BATCHES = 100
RECONNECT_MS = 2_000
MOST_STREAMS = 500
"""Open streams of a process; each costs memory and a share of every tick."""
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""The second asks nginx to pass each message on at once."""
STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/event-stream": {}}, "description": "A stream of events"}
}

LastSeen = Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)]


@router.get("/batches/{batch_id}/events", response_class=StreamingResponse, responses=STREAM)
async def one(batch_id: str, ctx: Ctx, last_seen: LastSeen = None) -> Response:
    """Stream one batch's events until it has ended, beginning with its present state.

    204 tells a client that has seen the end to stop connecting.
    """
    batch = await ctx.reading.batch(batch_id)
    if batch.status.ended and last_seen == str(batch.revision):
        return Response(status_code=204)
    return _stream(ctx, [batch], last_seen, until_ended=True)


@router.get("/events", response_class=StreamingResponse, responses=STREAM)
async def several(
    ctx: Ctx,
    batches: Annotated[str, Query(max_length=5_000, description="Ids, separated by commas")],
    last_seen: LastSeen = None,
) -> Response:
    """Stream the events of several batches, for a page that shows them."""
    ids = list(dict.fromkeys(each.strip() for each in batches.split(",") if each.strip()))
    if not 0 < len(ids) <= MOST_BATCHES:
        raise InvalidFieldError(f"`batches` must be 1 to {MOST_BATCHES} ids, with commas between.")
    known = [await ctx.reading.batch(batch_id) for batch_id in ids]
    return _stream(ctx, known, last_seen, until_ended=False)


def _stream(
    ctx: RequestContext, known: Sequence[Batch], last_seen: str | None, *, until_ended: bool
) -> Response:
    event_hub = ctx.event_hub
    if len(event_hub.listeners) >= MOST_STREAMS:
        raise ServerBusyError(f"{MOST_STREAMS} streams open, the most that it keeps up with")

    async def messages() -> AsyncIterator[bytes]:
        with event_hub.listen(known) as listener:
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            if last_seen is not None:
                for batch in known:
                    listener.push(event_hub.items_changed(batch))
            async for message in event_hub.messages(listener, until_ended=until_ended):
                yield message

    return StreamingResponse(messages(), headers=HEADERS, media_type="text/event-stream")
