"""Idempotency-Key: a request that is repeated gets the first one's answer, and does nothing.

The key counts for its owner, method and path; the digest of the contents tells a repeat from
another request. Where a batch starts, the answer is kept in the very transaction that starts it,
so a kill at any moment leaves either both or neither.
"""

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from batchmill.api.context import RequestContext
from batchmill.errors.request import (
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    InvalidFieldError,
)
from batchmill.service import idempotency
from batchmill.service.context import Transaction
from batchmill.service.idempotency import StoredResponse

HEADER = "Idempotency-Key"
LONGEST_KEY = 200
GIVEN_UP_AFTER_MS = 600_000
"""A request that has not been answered for so long died with its process."""
_KEPT_HEADERS = ("location", "content-type", "retry-after")

Keep = Callable[[Transaction, Response], None]
"""Keeps an answer within a transaction; does nothing for a request without a key."""


async def respond_once(
    request: Request,
    ctx: RequestContext,
    contents_sha256: str,
    make: Callable[[Keep], Awaitable[Response]],
) -> Response:
    """Return what `make` returns, or what it returned when the same request came first.

    Raises:
        IdempotencyMismatchError: the key was used for a request with other contents.
        IdempotencyInFlightError: the first request is still being answered.
        InvalidFieldError: the key is too long or not printable.
    """
    key = _key(request)
    if key is None:
        return await make(lambda _conn, _response: None)
    server, owner_id = ctx.server, ctx.caller.owner_id
    digest = _digest(request, contents_sha256)

    def keep(conn: Transaction, response: Response) -> None:
        idempotency.keep(conn, owner_id, key, _kept(digest, response))

    known = await idempotency.begin(
        server, owner_id, key, body_sha256=digest, given_up_ms=GIVEN_UP_AFTER_MS
    )
    if known is not None:
        return _replay(known, digest)
    try:
        response = await make(keep)
    except BaseException:
        await idempotency.forget(server, owner_id, key)
        raise
    await idempotency.store(server, owner_id, key, _kept(digest, response))
    return response


def _key(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not (
        0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()
    ):
        raise InvalidFieldError(f"`{HEADER}` must be 1 to {LONGEST_KEY} printable characters.")
    return key


def _digest(request: Request, contents_sha256: str) -> str:
    parts = (request.method, request.url.path, contents_sha256)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _kept(digest: str, response: Response) -> StoredResponse:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return StoredResponse(digest, response.status_code, headers, bytes(response.body))


def _replay(known: StoredResponse, digest: str) -> Response:
    if known.body_sha256 != digest:
        raise IdempotencyMismatchError
    if known.status_code is None:
        raise IdempotencyInFlightError
    headers = {**known.headers, "Idempotency-Replayed": "true"}
    return Response(known.body, known.status_code, headers)
