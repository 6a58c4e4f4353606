"""Turns what the service knows into the shapes of `wire`, and those into responses."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel
from pydantic.main import IncEx

from batchmill.errors.item import remedy_of
from batchmill.model import batch as model
from batchmill.model.access import ApiKey
from batchmill.model.item import Item, ItemStatus, Result
from batchmill.model.progress import progress
from batchmill.service.queries import ResultPage, SampledGroup
from batchmill.wire import responses

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)

POLL_SHARE = 20
"""Advise to look again after this part of the remaining time."""
POLL_MIN_S, POLL_MAX_S = 1, 60


def answer(
    body: BaseModel,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    without: IncEx | None = None,
) -> Response:
    """Return a JSON answer that nobody may keep without asking again."""
    headers = {"Cache-Control": "no-cache", **(headers or {})}
    return Response(body.model_dump_json(exclude=without), status, headers, "application/json")


def conditional(
    request: Request, body: BaseModel, *, without: IncEx | None = None, **headers: str
) -> Response:
    """Return an answer with an ETag of its content, or 304 when the client has it."""
    response = answer(body, headers=headers, without=without)
    tag = f'W/"{hashlib.sha256(bytes(response.body)).hexdigest()[:24]}"'
    response.headers["ETag"] = tag
    if has_current(request, tag):
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    return response


def has_current(request: Request, tag: str) -> bool:
    """Say whether If-None-Match names `tag`, weakly compared."""
    sent = request.headers.get("if-none-match", "")
    strong = tag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") in {strong, "*"} for each in sent.split(","))


def batch(row: model.Batch, position: int | None = None) -> responses.Batch:
    """Describe a batch as of now."""
    return responses.Batch(
        id=row.id,
        owner=row.owner_id,
        status=row.status,
        paused=row.paused,
        pause_reason=row.pause_reason,
        outage_since=row.outage_since,
        open=row.open,
        name=row.name,
        tag=row.tag,
        metadata=row.metadata,
        pipeline=row.pipeline,
        priority=row.priority,
        concurrency=row.concurrency,
        halt_after_pct=row.halt_after_pct,
        webhook=row.webhook_id,
        counts=counts(row.counts),
        progress=_progress(row, position),
        run=row.run_no,
        revision=row.revision,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        expires_at=row.expires_at,
    )


def counts(found: model.Counts) -> responses.ItemCounts:
    """Describe counters."""
    by_status = {str(status): getattr(found, status) for status in ItemStatus}
    return responses.ItemCounts(total=found.total, **by_status)


def poll_advice(described: responses.Batch) -> dict[str, str]:
    """Return the header that says when another look is worth it; none for an ended batch."""
    if described.status.ended:
        return {}
    wait_s = (described.progress.eta_seconds or 0) // POLL_SHARE
    return {"Retry-After": str(min(POLL_MAX_S, max(POLL_MIN_S, wait_s)))}


def item(row: Item, of: model.Batch, base_url: str, *, with_data: bool = True) -> responses.Item:
    """Describe an item."""
    result = row.result or Result()
    return responses.Item(
        id=row.id,
        batch_id=row.batch_id,
        custom_id=row.custom_id,
        position=row.position,
        status=row.status,
        progress=row.progress,
        attempts=_attempts(row),
        input=_input(row),
        outputs=_outputs(row, of, base_url),
        data=dict(result.data) if with_data else None,
        warnings=list(result.warnings),
        skipped=responses.Skipped(reason=result.skipped) if result.skipped else None,
        error=_error(row),
        timings=_timings(row),
        due_at=row.due_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def item_event(row: Item) -> responses.ItemEvent:
    """Describe an item for a stream."""
    return responses.ItemEvent(
        id=row.id,
        batch_id=row.batch_id,
        custom_id=row.custom_id,
        position=row.position,
        name=row.input.name,
        status=row.status,
        progress=row.progress,
        attempts=_attempts(row),
        error=_error(row),
    )


def result_line(row: Item, of: model.Batch, base_url: str) -> responses.ResultLine:
    """Describe an item as a line of a report."""
    return responses.ResultLine(
        custom_id=row.custom_id,
        item_id=row.id,
        status=row.status,
        input=_input(row),
        outputs=_outputs(row, of, base_url),
        data=dict(row.result.data) if row.result else {},
        error=_error(row),
        attempts=_attempts(row),
        timings=_timings(row),
    )


def failure_group(found: SampledGroup) -> responses.FailureGroup:
    """Describe a failure group."""
    group = found.group
    return responses.FailureGroup(
        id=f"{group.no:x}",
        code=group.code,
        message=group.message,
        remedy=remedy_of(group.code),
        retryable=group.retryable,
        count=group.count,
        first_at=group.first_at,
        last_at=group.last_at,
        samples=[
            responses.Sample(
                item_id=each.id,
                name=each.input.name,
                message=each.error.message if each.error else "",
            )
            for each in found.samples
        ],
    )


def key(row: ApiKey) -> responses.Key:
    """Describe an API key; its secret is nowhere."""
    return responses.Key(
        id=row.id,
        name=row.name,
        owner=row.owner_id,
        tier=row.tier,
        scopes=[str(scope) for scope in row.scopes],
        created_at=row.created_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )


def page(found: ResultPage[T], describe: Callable[[T], S]) -> responses.Page[S]:
    """Describe a page."""
    data: Sequence[S] = [describe(each) for each in found.data]
    return responses.Page(
        data=list(data), has_more=found.next_cursor is not None, next_cursor=found.next_cursor
    )


def output_url(base_url: str, item_id: str, name: str) -> str:
    """Return where an output can be had."""
    return f"{base_url}/v1/items/{item_id}/outputs/{quote(name)}"


def _progress(row: model.Batch, position: int | None) -> responses.ProgressState:
    found = progress(row, datetime.now(UTC))
    return responses.ProgressState(
        percent=found.percent,
        items_per_second=_rounded(found.items_per_second),
        eta_seconds=_whole(found.eta_s),
        eta_low_seconds=_whole(found.eta_low_s),
        eta_high_seconds=_whole(found.eta_high_s),
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        bytes_saved=row.bytes_saved,
        position=position,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _input(row: Item) -> responses.Input:
    source = row.input
    return responses.Input(
        path=source.name, bytes=source.bytes, sha256=source.sha256, type=source.media_type
    )


def _outputs(row: Item, of: model.Batch, base_url: str) -> list[responses.Output]:
    return [
        responses.Output(
            name=output.name,
            url=output_url(base_url, row.id, output.name),
            expires_at=of.expires_at,
            bytes=output.bytes,
            type=output.media_type,
            width=output.width,
            height=output.height,
            sha256=output.sha256,
        )
        for output in (row.result.outputs if row.result else ())
    ]


def _attempts(row: Item) -> int:
    """Return how often an item was begun: a claim that was handed back is no attempt."""
    return row.begun + (row.status is ItemStatus.PROCESSING)


def _error(row: Item) -> responses.ItemFailure | None:
    if row.error is None:
        return None
    return responses.ItemFailure(
        code=row.error.code,
        message=row.error.message,
        remedy=remedy_of(row.error.code),
        retryable=row.error.retryable,
        step=row.error.step,
        attempt=row.begun,
    )


def _timings(row: Item) -> responses.Timings:
    queued_ms = None
    if row.queued_at is not None and row.started_at is not None:
        queued_ms = max(0, round((row.started_at - row.queued_at).total_seconds() * 1000))
    steps = row.result.step_ms if row.result else {}
    return responses.Timings(queued_ms=queued_ms, run_ms=row.run_ms, steps=dict(steps))
