"""Every statement about uploads. How much of one has arrived is the size of its file."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from batchmill.db.schema import uploads
from batchmill.db.types import NOW, Clock
from batchmill.model.batch import OwnerId
from batchmill.model.upload import Upload, UploadId


def insert(
    conn: Connection,
    upload_id: UploadId,
    *,
    owner_id: OwnerId,
    expiry_ms: int,
    now: Clock = NOW,
    **values: Any,  # noqa: ANN401 - name, metadata, length_bytes
) -> None:
    """Enter an upload of which nothing has arrived."""
    row = {"id": upload_id, "owner_id": owner_id, "expires_at": now + expiry_ms, **values}
    conn.execute(uploads.insert().values(**row))


def get(
    conn: Connection, upload_id: UploadId, *, owner_id: OwnerId, now: Clock = NOW
) -> Upload | None:
    """Read an owner's upload; None when there is none, or its time is over."""
    columns = (uploads.c[name] for name in Upload.__slots__)
    query = select(*columns).where(*_is(upload_id, owner_id), uploads.c.expires_at > now)
    row = conn.execute(query).one_or_none()
    return None if row is None else Upload(*row)


def held(conn: Connection, owner_id: OwnerId) -> tuple[int, int]:
    """Count an owner's open uploads and the bytes that they will have."""
    query = select(func.count(), func.coalesce(func.sum(uploads.c.length_bytes), 0))
    number, total_bytes = conn.execute(query.where(uploads.c.owner_id == owner_id)).one()
    return int(number), int(total_bytes)


def extend(
    conn: Connection, upload_id: UploadId, *, owner_id: OwnerId, expiry_ms: int, now: Clock = NOW
) -> bool:
    """Put off the end of an upload. False: there is none, or its time is over."""
    statement = update(uploads).where(*_is(upload_id, owner_id), uploads.c.expires_at > now)
    return conn.execute(statement.values(expires_at=now + expiry_ms)).rowcount == 1


def remove(conn: Connection, upload_id: UploadId, *, owner_id: OwnerId) -> bool:
    """Take an upload out, because a batch takes it or nobody wants it. False: it is gone."""
    return conn.execute(uploads.delete().where(*_is(upload_id, owner_id))).rowcount == 1


def expired(conn: Connection, *, limit: int, now: Clock = NOW) -> Sequence[UploadId]:
    """Name uploads whose time is over: nothing makes it go on again."""
    query = select(uploads.c.id).where(uploads.c.expires_at <= now)
    return list(conn.scalars(query.limit(limit)))


def forget_expired(conn: Connection, ids: Sequence[UploadId], *, now: Clock = NOW) -> None:
    """Remove those of `ids` whose time is over."""
    conn.execute(uploads.delete().where(uploads.c.id.in_(ids), uploads.c.expires_at <= now))


def existing(conn: Connection, ids: Collection[str]) -> set[UploadId]:
    """Return those of `ids` that there are: files of others are orphans."""
    return set(conn.scalars(select(uploads.c.id).where(uploads.c.id.in_(ids))))


def _is(upload_id: UploadId, owner_id: OwnerId) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return uploads.c.id == upload_id, uploads.c.owner_id == owner_id
