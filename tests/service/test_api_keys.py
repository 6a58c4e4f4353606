"""Keys are random, kept as hashes, revocable, and make no stronger ones; windows count for all."""

import asyncio
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from batchmill.db import access
from batchmill.db.connect import Database
from batchmill.db.schema import api_keys
from batchmill.db.types import at
from batchmill.errors.request import (
    ForbiddenError,
    InvalidOptionError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
    UsageError,
)
from batchmill.model.access import Scope
from batchmill.model.batch import OwnerId
from batchmill.service import api_keys as keys
from batchmill.service.api_keys import Allowance, Grant

pytestmark = pytest.mark.all_databases

ANNA = OwnerId("own_anna")
THREE_AN_HOUR = Allowance("uploads:own_anna", 3, 3600, "A key lifts it.")


async def test_a_secret_opens_its_key_until_it_is_revoked(database: Database) -> None:
    key, secret = await keys.create(database, Grant("shop", ANNA, "pro"), by=None)
    key_id = key.id
    found = await keys.authenticate(database, secret)
    assert found is not None
    assert (found.id, found.owner_id, found.tier) == (key_id, ANNA, "pro")
    await keys.revoke(database, key_id, owner_id=ANNA)
    assert await keys.authenticate(database, secret) is None
    assert [key.id for key in await keys.listed(database, ANNA)] == [key_id]


async def test_a_key_says_when_it_was_last_used_to_the_hour(database: Database) -> None:
    async def used() -> datetime | None:
        (key,) = await keys.listed(database, ANNA)
        return key.used_at

    key, secret = await keys.create(database, Grant("shop", ANNA), by=None)
    assert key.used_at is None
    await keys.authenticate(database, secret)
    first = await used()
    assert first is not None
    await keys.authenticate(database, secret)
    assert await used() == first
    an_hour = timedelta(milliseconds=keys.USE_NOTED_MS)
    await database.run(
        lambda conn: conn.execute(update(api_keys).values(used_at=first - 2 * an_hour))
    )
    await keys.authenticate(database, secret)
    assert (await used() or first) >= first


async def test_the_secret_is_nowhere_in_the_database(database: Database) -> None:
    _, secret = await keys.create(database, Grant("shop", ANNA), by=None)
    row = await database.read(lambda conn: conn.execute(select(api_keys)).one())
    assert secret not in str(row)
    assert len(secret) > 43


async def test_a_key_cannot_make_a_stronger_one(database: Database) -> None:
    _, plain = await keys.create(database, Grant("plain", ANNA), by=None)
    _, chief = await keys.create(database, Grant("chief", ANNA, "free", (Scope.ADMIN,)), by=None)
    with pytest.raises(ForbiddenError):
        await keys.create(database, Grant("x", ANNA), by=await keys.authenticate(database, plain))
    by_chief = await keys.authenticate(database, chief)
    with pytest.raises(ForbiddenError, match="enterprise"):
        await keys.create(database, Grant("x", ANNA, "enterprise"), by=by_chief)
    await keys.create(database, Grant("x", ANNA, "free"), by=by_chief)
    with pytest.raises(InvalidOptionError, match="tier"):
        await keys.create(database, Grant("x", ANNA, "golden"), by=by_chief)


async def test_somebody_elses_key_cannot_be_revoked(database: Database) -> None:
    key, secret = await keys.create(database, Grant("shop", ANNA), by=None)
    key_id = key.id
    with pytest.raises(NotFoundError):
        await keys.revoke(database, key_id, owner_id=OwnerId("own_berta"))
    assert await keys.authenticate(database, secret) is not None


async def test_the_fourth_submission_within_the_hour_is_refused(database: Database) -> None:
    left = [(await keys.count_submission(database, THREE_AN_HOUR)).remaining for _ in range(3)]
    assert left == [2, 1, 0]
    with pytest.raises(RateLimitedError) as refused:
        await keys.count_submission(database, THREE_AN_HOUR)
    assert 3590 <= refused.value.retry_after_s <= 3600
    assert refused.value.message == (
        "No more than 3 submissions in 60 minutes; try again in 60 minutes. A key lifts it."
    )


async def test_a_submission_that_is_given_back_can_be_made_again(database: Database) -> None:
    for _ in range(3):
        await keys.count_submission(database, THREE_AN_HOUR)
    for _ in range(2):  # what is refused is not counted, so that one given back is enough
        with pytest.raises(RateLimitedError):
            await keys.count_submission(database, THREE_AN_HOUR)
    await keys.uncount_submission(database, THREE_AN_HOUR)
    assert (await keys.count_submission(database, THREE_AN_HOUR)).remaining == 0


async def test_uses_at_the_same_moment_are_all_counted(database: Database) -> None:
    hundred = Allowance("submissions:127.0.0.1", 100, 900, "")
    usages = await asyncio.gather(*(keys.count_submission(database, hundred) for _ in range(40)))
    assert sorted(usage.remaining for usage in usages) == list(range(60, 100))


async def test_a_window_that_is_over_starts_again(database: Database) -> None:
    name = "w"
    for now, expected in ((1_000, 1), (1_500, 2), (2_001, 1), (2_500, 2)):
        used, left_ms = await database.run(access.count_use, name, window_ms=1_000, now=at(now))
        assert used == expected
        assert 0 < left_ms <= 1_000
    assert await database.run(access.forget_windows, now=at(9_000)) == 1


async def test_a_window_that_ends_within_the_second_says_one_second_and_never_none(
    database: Database,
) -> None:
    usage = await keys.count_submission(database, Allowance("half", 1, 0.5, ""))
    assert usage.reset_s == 1


async def test_using_a_key_is_no_use_of_another(database: Database) -> None:
    _, secret = await keys.create(database, Grant("shop", ANNA), by=None)
    other, _ = await keys.create(database, Grant("shop", OwnerId("own_berta")), by=None)
    await keys.authenticate(database, secret)
    used = {key.id: key.used_at is not None for key in await keys.listed(database, None)}
    assert sorted(used.values()) == [False, True]
    assert used[other.id] is False


async def test_a_use_within_the_hour_is_not_noted_by_whoever_comes_second(
    database: Database,
) -> None:
    key, _ = await keys.create(database, Grant("shop", ANNA), by=None)
    hour_ms = keys.USE_NOTED_MS
    noted = []
    for now in (hour_ms, hour_ms + 1, 2 * hour_ms + 1):
        await database.run(access.note_use, key.id, every_ms=hour_ms, now=at(now))
        noted.append((await keys.listed(database, ANNA))[0].used_at)
    assert noted[0] == noted[1] != noted[2]


async def test_a_revoked_key_lets_nobody_in(database: Database) -> None:
    key, _ = await keys.create(database, Grant("shop", ANNA), by=None)
    assert await keys.any_key(database)
    await keys.revoke(database, key.id, owner_id=None)
    assert not await keys.any_key(database)


async def test_an_amount_counts_until_its_window_is_over(database: Database) -> None:
    fits = [
        await database.run(access.use_up, "w", amount, most=10, window_ms=1_000, now=at(now))
        for now, amount in ((1_000, 11), (1_000, 8), (1_500, 3), (1_500, 2), (2_001, 9))
    ]
    assert fits == [False, True, False, True, True]


async def test_an_administrator_can_choose_no_short_key(database: Database) -> None:
    for secret in ("bm_" + "x" * 31, "x" * 64):
        with pytest.raises(UsageError):
            await keys.ensure_admin(database, secret)
    for _ in range(2):
        await keys.ensure_admin(database, "bm_" + "x" * 32)
    assert len(await keys.listed(database, None)) == 1


async def test_an_admin_link_opens_once_and_no_other_token_uses_it_up(database: Database) -> None:
    token = await keys.offer_admin_link(database)
    with pytest.raises(UnauthenticatedError):
        await keys.redeem_admin_link(database, f"{token}x")
    assert await keys.authenticate(database, await keys.redeem_admin_link(database, token))
    with pytest.raises(UnauthenticatedError):
        await keys.redeem_admin_link(database, token)


async def test_uses_are_counted_from_one_again_in_the_instant_that_their_window_ends(
    database: Database,
) -> None:
    found = [
        await database.run(access.count_use, "w", window_ms=1_000, now=at(now))
        for now in (1_000, 1_999, 2_000)
    ]
    assert found == [(1, 1_000), (2, 1), (1, 1_000)]
