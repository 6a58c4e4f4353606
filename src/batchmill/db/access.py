"""Every statement about keys, rate windows and the server's own secrets."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, or_, select, update
from sqlalchemy.exc import IntegrityError

from batchmill.db.schema import api_keys, rate_windows, secrets
from batchmill.db.types import NOW, Clock
from batchmill.model.access import ApiKey, KeyId, Scope
from batchmill.model.batch import OwnerId

_SHOWN = ("id", "owner_id", "name", "tier", "scopes", "created_at", "used_at", "revoked_at")


def add_key(
    conn: Connection,
    key_id: KeyId,
    secret_sha256: str,
    *,
    owner_id: OwnerId,
    grant: tuple[str, str, Sequence[Scope]],
    now: Clock = NOW,
) -> None:
    """Enter a key; `grant` is its name, tier and scopes."""
    name, tier, scopes = grant
    row = {"name": name, "tier": tier, "scopes": list(scopes), "created_at": now}
    conn.execute(
        api_keys.insert().values(id=key_id, secret_sha256=secret_sha256, owner_id=owner_id, **row)
    )


def key_of_secret(conn: Connection, secret_sha256: str) -> ApiKey | None:
    """Find a living key by the hash of its secret."""
    query = _select().where(
        api_keys.c.secret_sha256 == secret_sha256, api_keys.c.revoked_at.is_(None)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else _key(row)


def note_use(conn: Connection, key_id: KeyId, *, every_ms: int, now: Clock = NOW) -> None:
    """Note that a key is in use, unless that was noted less than `every_ms` ago."""
    long_ago = or_(api_keys.c.used_at.is_(None), api_keys.c.used_at < now - every_ms)
    conn.execute(update(api_keys).where(api_keys.c.id == key_id, long_ago).values(used_at=now))


def keys_of(conn: Connection, owner_id: OwnerId | None) -> Sequence[ApiKey]:
    """Return an owner's keys, revoked ones too, newest first; None: everybody's."""
    query = _select().order_by(api_keys.c.id.desc())
    if owner_id is not None:
        query = query.where(api_keys.c.owner_id == owner_id)
    return [_key(row) for row in conn.execute(query)]


def revoke_key(
    conn: Connection, key_id: KeyId, *, owner_id: OwnerId | None, now: Clock = NOW
) -> bool:
    """End a key for good. False: there is no such living key."""
    statement = update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    if owner_id is not None:
        statement = statement.where(api_keys.c.owner_id == owner_id)
    return conn.execute(statement.values(revoked_at=now)).rowcount == 1


def count_use(conn: Connection, name: str, *, window_ms: int, now: Clock = NOW) -> tuple[int, int]:
    """Count one use of a rate window; returns uses so far and the milliseconds until it ends.

    A window starts with its first use. An upsert by hand, because each database writes it
    differently; a lost race for the first use is counted like any other.
    """
    over = rate_windows.c.ends_at <= now
    statement = update(rate_windows).where(rate_windows.c.name == name)
    # In this order: MariaDB lets a later assignment see what an earlier one has written.
    counted = statement.ordered_values(
        (rate_windows.c.used, case((over, 1), else_=rate_windows.c.used + 1)),
        (rate_windows.c.started_at, case((over, now), else_=rate_windows.c.started_at)),
        (rate_windows.c.ends_at, case((over, now + window_ms), else_=rate_windows.c.ends_at)),
    )
    if not conn.execute(counted).rowcount and not _open_window(conn, name, window_ms, now):
        conn.execute(counted)
    left = rate_windows.c.ends_at - now
    row = conn.execute(select(rate_windows.c.used, left).where(rate_windows.c.name == name)).one()
    return int(row[0]), int(row[1])


def use_up(
    conn: Connection, name: str, amount: int, *, most: int, window_ms: int, now: Clock = NOW
) -> bool:
    """Add an amount to what is used of a window. False: that would be more than `most`.

    A window starts with its first use; a lost race for that is decided like any other.
    """
    if amount > most:
        return False
    over = rate_windows.c.ends_at <= now
    fits = or_(over, rate_windows.c.used + amount <= most)
    statement = update(rate_windows).where(rate_windows.c.name == name, fits)
    # In this order: MariaDB lets a later assignment see what an earlier one has written.
    used = statement.ordered_values(
        (rate_windows.c.used, case((over, amount), else_=rate_windows.c.used + amount)),
        (rate_windows.c.started_at, case((over, now), else_=rate_windows.c.started_at)),
        (rate_windows.c.ends_at, case((over, now + window_ms), else_=rate_windows.c.ends_at)),
    )
    if conn.execute(used).rowcount or _open_window(conn, name, window_ms, now, used=amount):
        return True
    return conn.execute(used).rowcount == 1


def correct_use(conn: Connection, name: str, difference: int) -> bool:
    """Change what is used of a window. False: there is no such window, or a newer one."""
    statement = update(rate_windows).where(
        rate_windows.c.name == name, rate_windows.c.used + difference >= 0
    )
    return conn.execute(statement.values(used=rate_windows.c.used + difference)).rowcount == 1


def forget_windows(conn: Connection, *, now: Clock = NOW) -> int:
    """Remove windows that are over; return how many."""
    return conn.execute(rate_windows.delete().where(rate_windows.c.ends_at < now)).rowcount


def replace_secret(conn: Connection, name: str, value: str) -> None:
    """Set a secret, whatever it was."""
    conn.execute(secrets.delete().where(secrets.c.name == name))
    conn.execute(secrets.insert().values(name=name, value=value))


def use_secret(conn: Connection, name: str, value: str) -> bool:
    """Remove a secret if it has this value. False: it has not, or is gone."""
    statement = secrets.delete().where(secrets.c.name == name, secrets.c.value == value)
    return conn.execute(statement).rowcount == 1


def _open_window(conn: Connection, name: str, window_ms: int, now: Clock, *, used: int = 1) -> bool:
    row = {"name": name, "used": used, "started_at": now, "ends_at": now + window_ms}
    try:
        with conn.begin_nested():
            conn.execute(rate_windows.insert().values(**row))
    except IntegrityError:
        return False
    return True


def _select() -> Any:  # noqa: ANN401 - a Select
    return select(*(api_keys.c[name] for name in _SHOWN))


def _key(row: Row[Any]) -> ApiKey:
    shown = dict(zip(_SHOWN, row, strict=True))
    shown["scopes"] = tuple(Scope(scope) for scope in shown["scopes"])
    return ApiKey(**shown)
