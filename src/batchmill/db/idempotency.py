"""Answers kept for repeated requests: the same Idempotency-Key gets the same answer for a day."""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update
from sqlalchemy.exc import IntegrityError

from batchmill.db.schema import idempotency
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import OwnerId


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The first request's answer; `status_code` is None while it is still being made."""

    body_sha256: str
    status_code: int | None
    headers: dict[str, Any]
    body: bytes


def begin(
    conn: Connection,
    owner_id: OwnerId,
    key: str,
    *,
    body_sha256: str,
    now: Clock = NOW,
) -> StoredResponse | None:
    """Reserve a key for this request. Returns what is kept when the key was used before."""
    row = {"owner_id": owner_id, "key": key, "body_sha256": body_sha256, "created_at": now}
    try:
        with conn.begin_nested():
            conn.execute(idempotency.insert().values(**row))
    except IntegrityError:
        return get(conn, owner_id, key)
    return None


def get(conn: Connection, owner_id: OwnerId, key: str) -> StoredResponse | None:
    """Read what is kept under a key."""
    columns = (idempotency.c[name] for name in ("body_sha256", "status_code", "headers", "body"))
    row = conn.execute(select(*columns).where(*_is(owner_id, key))).one_or_none()
    return None if row is None else StoredResponse(row[0], row[1], row[2] or {}, row[3] or b"")


def keep(conn: Connection, owner_id: OwnerId, key: str, answer: StoredResponse) -> None:
    """Store the answer of the first request."""
    conn.execute(update(idempotency).where(*_is(owner_id, key)).values(**asdict(answer)))


def take_over(
    conn: Connection,
    owner_id: OwnerId,
    key: str,
    *,
    body_sha256: str,
    older_ms: int,
    now: Clock = NOW,
) -> bool:
    """Reserve a key anew whose request, the same one, died unanswered. False: it did not."""
    statement = (
        update(idempotency)
        .where(*_is(owner_id, key), idempotency.c.status_code.is_(None))
        .where(idempotency.c.body_sha256 == body_sha256, idempotency.c.created_at < now - older_ms)
    )
    return conn.execute(statement.values(created_at=now)).rowcount == 1


def forget(conn: Connection, owner_id: OwnerId, key: str) -> None:
    """Free a key whose request failed without an answer, so that it can be tried again."""
    unanswered = idempotency.c.status_code.is_(None)
    conn.execute(idempotency.delete().where(*_is(owner_id, key), unanswered))


def forget_older(conn: Connection, *, age_ms: int, now: Clock = NOW) -> int:
    """Drop answers that are older than `age_ms`; return how many."""
    return conn.execute(
        idempotency.delete().where(idempotency.c.created_at < now - age_ms)
    ).rowcount


def _is(owner_id: OwnerId, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return idempotency.c.owner_id == owner_id, idempotency.c.key == key
