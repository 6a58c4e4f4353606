"""What a request sends to be worked on, and the batch that becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request, Response

from batchmill.api import serialize
from batchmill.api.context import RequestContext
from batchmill.api.http import json_body
from batchmill.api.http.idempotency import Keep, respond_once
from batchmill.api.http.problems import checked
from batchmill.api.submission import form_files, json_inputs, orders
from batchmill.model.batch import Batch, BatchId
from batchmill.service import queries
from batchmill.service.context import Transaction
from batchmill.service.submission import submit
from batchmill.service.submission.submit import Order
from batchmill.service.submission.uploads import AnyFile, taken
from batchmill.wire import requests, responses


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked order, its files on our disk, and a digest of the request's contents."""

    order: Order
    files: Sequence[AnyFile]
    sha256: str


@dataclass(frozen=True, slots=True)
class More:
    """Files for a batch that exists."""

    files: Sequence[AnyFile]
    sha256: str


async def read_json(request: Request, ctx: RequestContext) -> json_body.JsonBody:
    """Read a JSON body within the server's limits.

    Raises: as `body.read_json`.
    """
    settings = ctx.server.settings
    return await json_body.read_json(
        request, limit_bytes=settings.json_bytes, silence_s=settings.body_timeout_s
    )


async def read(request: Request, ctx: RequestContext, folder: Path) -> Submission:
    """Read a form or a JSON body that asks for a batch.

    Raises:
        RequestError: one of its kinds, with a sentence that names what is wrong.
        StorageFullError: there is no room for the files.
    """
    if json_body.media_type(request) == form_files.FORM:

        def check(fields: dict[str, str]) -> None:
            if "pipeline" in fields:
                orders.of_form(ctx.server, fields)

        names = ("pipeline", "options")
        sent = await form_files.receive(request, ctx, folder, fields=names, check=check)
        return Submission(orders.of_form(ctx.server, sent.fields), sent.files, sent.sha256)
    parsed = await read_json(request, ctx)
    wanted: requests.NewBatch = checked(requests.NewBatch, parsed.value, "The request")
    order = orders.of_options(ctx.server, wanted.pipeline, wanted)
    files = await json_inputs.take(wanted.inputs, ctx, folder)
    return Submission(order, files, parsed.sha256)


async def read_more(request: Request, ctx: RequestContext, folder: Path) -> More:
    """Read a form or a JSON body that brings files alone.

    Raises: as `read`.
    """
    if json_body.media_type(request) == form_files.FORM:
        sent = await form_files.receive(request, ctx, folder)
        return More(sent.files, sent.sha256)
    parsed = await read_json(request, ctx)
    wanted: requests.MoreInputs = checked(requests.MoreInputs, parsed.value, "The request")
    return More(await json_inputs.take(wanted.inputs, ctx, folder), parsed.sha256)


async def accept(request: Request, ctx: RequestContext, sent: Submission) -> Response:
    """Start a batch, once for each Idempotency-Key, and answer 202.

    Raises: as `submit.accept` and `respond_once`.
    """

    async def make(keep: Keep) -> Response:
        batch_id = await start(ctx, sent, keep)
        return accepted(await ctx.reading.batch(batch_id))

    return await respond_once(request, ctx, sent.sha256, make)


async def start(ctx: RequestContext, sent: Submission, keep: Keep | None = None) -> BatchId:
    """Start a batch; `keep` gets its answer in the transaction that starts it.

    Raises: as `submit.accept`.
    """
    server, caller = ctx.server, ctx.caller
    async with (
        submit.drafted(server, caller) as batch_id,
        taken(server, caller, sent.files) as (files, take),
    ):
        take_all = take(files)

        def also(conn: Transaction) -> None:
            take_all(conn)
            started = queries.batch_in(conn, batch_id, caller.owner_id)
            if started is not None and keep is not None:
                keep(conn, accepted(started))

        await submit.accept(server, batch_id, caller, order=sent.order, files=files, also=also)
    return batch_id


async def append(request: Request, ctx: RequestContext, batch_id: BatchId, sent: More) -> Response:
    """Add files to an open batch, once for each Idempotency-Key, and answer 202.

    Raises: as `submit.add_files` and `respond_once`.
    """

    async def make(_: Keep) -> Response:
        server, caller = ctx.server, ctx.caller
        async with taken(server, caller, sent.files) as (files, take):
            added = await submit.add_files(server, batch_id, caller, files, take=take)
        grown = serialize.batch(await ctx.reading.batch(batch_id))
        return serialize.answer(responses.Added(added=added, batch=grown), 202)

    return await respond_once(request, ctx, sent.sha256, make)


def accepted(batch: Batch) -> Response:
    """Answer 202 with a batch and where to look at it."""
    described = serialize.batch(batch)
    headers = {"Location": f"/v1/batches/{batch.id}", **serialize.poll_advice(described)}
    return serialize.answer(described, 202, headers)
