"""Idempotency keys: the response to a request is stored, and given again to its repeats."""

from batchmill.db import idempotency
from batchmill.db.connect import Connection
from batchmill.db.idempotency import StoredResponse
from batchmill.model.batch import OwnerId
from batchmill.service.context import ServerContext

__all__ = ["StoredResponse", "begin", "forget", "keep", "store"]


async def begin(
    server: ServerContext, owner_id: OwnerId, key: str, *, body_sha256: str, given_up_ms: int
) -> StoredResponse | None:
    """Reserve a key. None: the request is to be done now; else what is known of the first one.

    A reservation that is `given_up_ms` old died with its process and is taken over.
    """
    return await server.database.run(
        _begin, owner_id, key, body_sha256=body_sha256, given_up_ms=given_up_ms
    )


def _begin(
    conn: Connection, owner_id: OwnerId, key: str, *, body_sha256: str, given_up_ms: int
) -> StoredResponse | None:
    known = idempotency.begin(conn, owner_id, key, body_sha256=body_sha256)
    if known is None or known.status_code is not None:
        return known
    taken = idempotency.take_over(
        conn, owner_id, key, body_sha256=body_sha256, older_ms=given_up_ms
    )
    return None if taken else known


def keep(conn: Connection, owner_id: OwnerId, key: str, response: StoredResponse) -> None:
    """Store the response to a request within a transaction."""
    idempotency.keep(conn, owner_id, key, response)


async def store(
    server: ServerContext, owner_id: OwnerId, key: str, response: StoredResponse
) -> None:
    """Store the response to a request."""
    await server.database.run(idempotency.keep, owner_id, key, response)


async def forget(server: ServerContext, owner_id: OwnerId, key: str) -> None:
    """Give a key back: the request has failed and may be tried again."""
    await server.database.run(idempotency.forget, owner_id, key)
