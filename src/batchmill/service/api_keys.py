"""API keys: made once, shown once, kept as a hash; and how often somebody may submit."""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from batchmill import logs
from batchmill.db import access
from batchmill.db.connect import Connection, Database
from batchmill.errors.outage import OutageError
from batchmill.errors.request import (
    ForbiddenError,
    InvalidOptionError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UsageError,
)
from batchmill.logs import Event
from batchmill.model import ids
from batchmill.model.access import ApiKey, KeyId, Scope
from batchmill.model.batch import LOCAL_OWNER, OwnerId
from batchmill.model.priority import TIER_PRIORITY

PREFIX = "bm_"
SECRET_BYTES = 32
LEAST_CHARACTERS = 35
ADMIN_LINK = "admin_link"
USE_NOTED_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new key may do, and for whom."""

    name: str
    owner_id: OwnerId
    tier: str = "free"
    scopes: tuple[Scope, ...] = (Scope.READ, Scope.WRITE)


ADMIN = Grant("admin", LOCAL_OWNER, "enterprise", (Scope.ADMIN,))


@dataclass(frozen=True, slots=True)
class Allowance:
    """How often a caller may submit: `limit` times in a window of `window_s`.

    `advice` is the sentence that says what allows more.
    """

    name: str
    limit: int
    window_s: float
    advice: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Where a caller stands in its window, for the RateLimit headers."""

    limit: int
    remaining: int
    reset_s: int


async def create(database: Database, grant: Grant, *, by: ApiKey | None) -> tuple[ApiKey, str]:
    """Make a key; returns it and its secret, which is shown this once.

    `by` is the key that asks; None is the administrator of the machine itself.

    Raises:
        InvalidOptionError: there is no such tier.
        ForbiddenError: the new key would permit more than the one that asks for it.
    """
    if grant.tier not in TIER_PRIORITY:
        raise InvalidOptionError(f"`tier` is one of {', '.join(TIER_PRIORITY)}.")
    _refuse_stronger(grant, by)
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    key = await database.run(_add, grant, secret)
    logs.info(Event.KEY_CREATED, key=key.id, tier=grant.tier)
    return key, secret


async def ensure_admin(database: Database, secret: str) -> None:
    """Make the key that the administrator has chosen, unless it is there already.

    Raises:
        UsageError: the secret is too short to be one.
    """
    if not secret.startswith(PREFIX) or len(secret) < LEAST_CHARACTERS:
        raise UsageError(
            f"BATCHMILL_ADMIN_KEY must start with {PREFIX} and have at least"
            f" {LEAST_CHARACTERS} characters; `batchmill keys create` prints a good one."
        )
    if await authenticate(database, secret) is None:
        await database.run(_add, ADMIN, secret)


async def any_key(database: Database) -> bool:
    """Say whether anybody could be let in by a key."""
    return any(key.revoked_at is None for key in await listed(database, None))


async def offer_admin_link(database: Database) -> str:
    """Return a token that `redeem_admin_link` takes once; an older one stops working."""
    token = secrets.token_urlsafe(SECRET_BYTES)
    await database.run(access.replace_secret, ADMIN_LINK, digest(token))
    return token


async def redeem_admin_link(database: Database, token: str) -> str:
    """Exchange the token for the secret of a new admin key.

    Raises:
        UnauthenticatedError: the token is not the last one offered, or was used before.
    """
    if not await database.run(access.use_secret, ADMIN_LINK, digest(token)):
        raise UnauthenticatedError("This link was used before; a restart prints a new one.")
    _, secret = await create(database, ADMIN, by=None)
    return secret


async def authenticate(database: Database, secret: str) -> ApiKey | None:
    """Return the living key with this secret; None: there is none.

    That it was used is noted once an hour, so that reading stays reading.
    """
    if not secret.startswith(PREFIX):
        return None
    key = await database.read(access.key_of_secret, digest(secret))
    if key is not None and _is_long_ago(key.used_at):
        with suppress(OutageError):  # a full disk must not keep people from looking
            await database.run(access.note_use, key.id, every_ms=USE_NOTED_MS)
    return key


async def listed(database: Database, owner_id: OwnerId | None) -> Sequence[ApiKey]:
    """Return an owner's keys; None: everybody's."""
    return await database.read(access.keys_of, owner_id)


async def revoke(database: Database, key_id: KeyId, *, owner_id: OwnerId | None) -> None:
    """End a key for good.

    Raises:
        NotFoundError: there is no such living key.
    """
    if not await database.run(access.revoke_key, key_id, owner_id=owner_id):
        raise NotFoundError("key", key_id)
    logs.info(Event.KEY_REVOKED, key=key_id)


async def count_submission(database: Database, allowance: Allowance) -> Usage:
    """Count one submission against an allowance; it survives restarts and is shared.

    Raises:
        RateLimitedError: the window is used up; it says when to come again.
    """
    window_ms = round(allowance.window_s * 1000)
    used, left_ms = await database.run(access.count_use, allowance.name, window_ms=window_ms)
    reset_s = max(1, -(-left_ms // 1000))
    if used > allowance.limit:
        await uncount_submission(database, allowance)
        raise RateLimitedError(
            allowance.limit, allowance.window_s, retry_after_s=reset_s, advice=allowance.advice
        )
    return Usage(allowance.limit, allowance.limit - used, reset_s)


async def uncount_submission(database: Database, allowance: Allowance) -> None:
    """Give back one submission that was counted and then refused for another reason."""
    await database.run(access.correct_use, allowance.name, -1)


def digest(secret: str) -> str:
    """Return what is kept of a secret; 256 random bits need no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _add(conn: Connection, grant: Grant, secret: str) -> ApiKey:
    access.add_key(
        conn,
        KeyId(ids.key_id()),
        digest(secret),
        owner_id=grant.owner_id,
        grant=(grant.name, grant.tier, grant.scopes),
    )
    made = access.key_of_secret(conn, digest(secret))
    if made is None:
        raise LookupError("a key that was just made is gone")
    return made


def _is_long_ago(used_at: datetime | None) -> bool:
    return used_at is None or datetime.now(UTC) - used_at > timedelta(milliseconds=USE_NOTED_MS)


def _refuse_stronger(grant: Grant, by: ApiKey | None) -> None:
    if by is None:
        return
    if not by.permits(Scope.ADMIN):
        raise ForbiddenError("Only a key with the scope `admin` can make keys.")
    if TIER_PRIORITY[grant.tier] < TIER_PRIORITY[by.tier]:
        raise ForbiddenError(f"A key of tier {by.tier} can't make one of tier {grant.tier}.")
