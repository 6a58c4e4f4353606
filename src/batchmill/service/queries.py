"""What people may read: the one place where an owner is compared, and the pages of every list."""

import base64
import binascii
import json
import re
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, replace
from heapq import merge
from itertools import islice
from typing import Any, Generic, TypeVar

from batchmill.archives.layout import ArchiveRow
from batchmill.db import batches, failures, listing, webhooks
from batchmill.db.connect import Connection
from batchmill.db.failures import FailureCount
from batchmill.errors.request import InvalidFieldError, NotFoundError
from batchmill.model.batch import Batch, BatchId, BatchStatus, OwnerId
from batchmill.model.item import UNSUCCESSFUL, Item, ItemId, ItemStatus
from batchmill.model.webhook import Delivery, DeliveryId, Webhook, WebhookId
from batchmill.service.context import ServerContext

BatchFilter = batches.BatchFilter
"""Which batches a list shows."""
ItemFilter = listing.ItemFilter
"""Which items are read."""

T = TypeVar("T")

SAMPLED_GROUPS = 25
SAMPLES = 3
PAGE_ROWS = 1_000
MERGED_GROUPS = 200
MOST = 2**63 - 1
"""The largest number that databases know."""
_ID = re.compile(r"(bat|itm)_[0-9a-z]{1,36}")


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[T]):
    """Some objects, and the cursor of those that follow; None: there are no more."""

    data: Sequence[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items a page shows; every field narrows."""

    status: ItemStatus | None = None
    error_code: str | None = None
    failure_no: int | None = None
    name_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class SampledGroup:
    """A failure group and some of its items."""

    group: FailureCount
    samples: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads for one caller; somebody else's objects are as absent as none. None sees all."""

    server: ServerContext
    owner_id: OwnerId | None

    async def batch(self, batch_id: str) -> Batch:
        """Read one batch.

        Raises:
            NotFoundError: the caller has no such batch.
        """
        known = BatchId(batch_id)
        found = None
        if _ID.fullmatch(batch_id):
            found = await self.server.database.read(batches.get, known, owner_id=self.owner_id)
        if found is None:
            raise NotFoundError("batch", batch_id)
        return found if self.server.vitals.standstill is None else stands(self.server, found)

    def begin_list(self) -> None:
        """Refuse a list that is read page by page, before its first byte is sent.

        Raises:
            ServerBusyError: the server has too many lists to read.
        """
        self.server.database.refuse_lists_when_busy()

    async def item(self, item_id: str) -> tuple[Item, Batch]:
        """Read one item and its batch.

        Raises:
            NotFoundError: the caller has no such item.
        """
        found = None
        if _ID.fullmatch(item_id):
            found = await self.server.database.read(_item, ItemId(item_id), self.owner_id)
        if found is None:
            raise NotFoundError("item", item_id)
        item, batch = found
        return item, batch if self.server.vitals.standstill is None else stands(self.server, batch)

    async def records(self, names: Collection[str], family: str) -> Mapping[str, Item]:
        """Return items of a family by their id or the caller's own, which finds the newest."""
        known = [name for name in names if _can_be_asked_for(name)]
        return await self.server.database.browse(_records, known, family, self.owner_id)

    async def batches(
        self, only: batches.BatchFilter, *, limit: int, cursor: str | None = None
    ) -> ResultPage[Batch]:
        """Return the caller's batches, newest first.

        Raises:
            InvalidFieldError: the cursor is not one of ours.
        """
        before = None if cursor is None else BatchId(_read_cursor(cursor, str)[0])
        rows = await self.server.database.browse(
            batches.page, self.owner_id, limit=limit + 1, before=before, only=only
        )
        if self.server.vitals.standstill is not None:
            rows = [stands(self.server, batch) for batch in rows]
        return _page(rows, limit, lambda batch: [batch.id])

    async def items(
        self,
        batch: Batch,
        wanted: Wanted,
        *,
        limit: int,
        cursor: str | None = None,
        start: int | None = None,
    ) -> ResultPage[Item]:
        """Return items of a batch by position, or by name under a name prefix.

        `start` is the least position, so that a list can be entered anywhere.

        Raises:
            InvalidFieldError: the cursor is not one of ours, or `start` came with it or a prefix.
        """
        if start is not None and (cursor is not None or wanted.name_prefix is not None):
            raise InvalidFieldError("`start` is a position: leave out `cursor` and `q` beside it.")
        after = None if start is None else ("", start - 1)
        if cursor is not None:
            name, position = _read_cursor(cursor, str, int)
            after = (name, position)
        rows = await self.server.database.browse(
            _items, batch.id, wanted, limit=limit + 1, after=after
        )
        return _page(rows, limit, lambda item: [item.input.name, item.position])

    async def first_items(self, batch: Batch, *, limit: int) -> Sequence[Item]:
        """Return the first few items of a batch, which is never refused."""
        return await self.server.database.read(listing.page, batch.id, limit=limit)

    async def every_item(
        self, batch: Batch, only: listing.ItemFilter
    ) -> AsyncIterator[Sequence[Item]]:
        """Yield all items of a batch by position, page by page; it is not refused once begun."""
        after = None
        while True:
            rows = await self.server.database.browse_on(
                listing.page, batch.id, limit=PAGE_ROWS, after=after, only=only
            )
            if not rows:
                return
            yield rows
            after = (rows[-1].input.name, rows[-1].position)

    async def archive_rows(self, batch: Batch, after: int) -> Sequence[ArchiveRow]:
        """Return the result files behind position `after`: a page of them, none at the end."""
        while True:
            found = await self.server.database.browse_on(
                listing.outputs_page, batch.id, after=after, limit=PAGE_ROWS
            )
            rows = [
                ArchiveRow(position, made.name, made.key, made.bytes, made.crc32)
                for position, outputs in found
                for made in outputs
            ]
            if rows or not found:
                return rows
            after = found[-1][0]

    async def failures(self, batch: Batch) -> Sequence[SampledGroup]:
        """Return a batch's failures by cause, the most frequent first, with samples of each."""
        return await self.server.database.browse(_failures, batch.id)

    async def webhook(self, webhook_id: str) -> Webhook:
        """Read one webhook.

        Raises:
            NotFoundError: the caller has no such webhook.
        """
        known = WebhookId(webhook_id)
        found = await self.server.database.read(webhooks.get, known, owner_id=self.owner_id)
        if found is None:
            raise NotFoundError("webhook", webhook_id)
        return found

    async def deliveries(
        self, webhook: Webhook, *, limit: int, cursor: str | None = None
    ) -> ResultPage[Delivery]:
        """Return the deliveries of a webhook, newest first.

        Raises:
            InvalidFieldError: the cursor is not one of ours.
        """
        before = None if cursor is None else DeliveryId(_read_cursor(cursor, str)[0])
        rows = await self.server.database.browse(
            webhooks.page, webhook.id, limit=limit + 1, before=before
        )
        return _page(rows, limit, lambda delivery: [delivery.id])

    async def position(self, batch: Batch) -> int | None:
        """Return the place of a batch among those that wait for their first item, from 1."""
        return (await self.positions([batch])).get(batch.id)

    async def positions(self, shown: Sequence[Batch]) -> Mapping[BatchId, int]:
        """Return the places of those batches that wait for their first item, from 1."""
        waiting = [each.id for each in shown if each.status is BatchStatus.QUEUED]
        return await self.server.database.read(batches.positions, waiting) if waiting else {}


def stands(server: ServerContext, batch: Batch) -> Batch:
    """Return a batch as people see it: with no reason of its own it waits with all others.

    Its own pause stays what it is, and can be changed meanwhile.
    """
    reason = server.vitals.standstill
    if reason is None or batch.pause_reason is not None or not batch.runnable:
        return batch
    return replace(batch, pause_reason=reason)


def _item(conn: Connection, item_id: ItemId, owner_id: OwnerId | None) -> tuple[Item, Batch] | None:
    item = listing.get(conn, item_id)
    batch = item and batches.get(conn, item.batch_id, owner_id=owner_id)
    return (item, batch) if item and batch else None


def _records(
    conn: Connection, names: Collection[str], family: str, owner_id: OwnerId | None
) -> Mapping[str, Item]:
    ids = [ItemId(name) for name in names if _ID.fullmatch(name)]
    found = [_item(conn, item_id, owner_id) for item_id in ids]
    records: dict[str, Item] = {
        each[0].id: each[0] for each in found if each and each[1].family == family
    }
    own = set(names) - set(records)
    named = listing.by_custom_id(conn, own, family=family, owner_id=owner_id) if own else []
    return {**records, **{item.custom_id or "": item for item in named}}


def _items(
    conn: Connection,
    batch_id: BatchId,
    wanted: Wanted,
    *,
    limit: int,
    after: tuple[str, int] | None,
) -> Sequence[Item]:
    groups = None if wanted.failure_no is None else {wanted.failure_no}
    if wanted.error_code is not None:
        found = set(failures.numbers(conn, batch_id, wanted.error_code))
        groups = found if groups is None else groups & found
    if groups is None or len(groups) > MERGED_GROUPS or wanted.name_prefix is not None:
        nos = None if groups is None else tuple(groups)
        only = listing.ItemFilter(wanted.status, nos, wanted.name_prefix)
        return listing.page(conn, batch_id, limit=limit, after=after, only=only)
    if wanted.status not in {None, *UNSUCCESSFUL}:
        return []
    last = -1 if after is None else after[1]
    rows = _failed(conn, batch_id, groups, last=last, limit=limit)
    return list(islice((row for row in rows if wanted.status in (None, row.status)), limit))


def _failed(
    conn: Connection, batch_id: BatchId, groups: Iterable[int], *, last: int, limit: int
) -> Iterator[Item]:
    """Yield the items of failure groups by position.

    Merged from each group's own index: a scan by position could pass a million others first.
    """
    while True:
        each = (failures.positions(conn, no, after=last, limit=limit) for no in groups)
        positions = list(islice(merge(*each), limit))
        if not positions:
            return
        yield from listing.at_positions(conn, batch_id, positions)
        last = positions[-1]


def _failures(conn: Connection, batch_id: BatchId) -> Sequence[SampledGroup]:
    groups = failures.of_batch(conn, batch_id)
    return [
        SampledGroup(
            group,
            listing.of_failure(conn, group.no, limit=SAMPLES) if number < SAMPLED_GROUPS else (),
        )
        for number, group in enumerate(groups)
    ]


def _can_be_asked_for(part: str | int) -> bool:
    """Tell whether databases take a value; half a character raises UnicodeEncodeError."""
    if isinstance(part, str):
        return b"\0" not in part.encode()
    return abs(part) <= MOST


def _page(rows: Sequence[T], limit: int, key: Callable[[T], list[str | int]]) -> ResultPage[T]:
    """Cut the one row that was read too many: it only says that there are more."""
    shown = rows[:limit]
    return ResultPage(shown, _cursor(key(shown[-1])) if len(rows) > limit else None)


def _cursor(key: list[str | int]) -> str:
    text = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(cursor: str, *kinds: type) -> list[Any]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        key: list[Any] = json.loads(base64.b64decode(padded, altchars="-_", validate=True))
        right = isinstance(key, list) and [type(part) for part in key] == list(kinds)
        right = right and all(map(_can_be_asked_for, key))
    except (binascii.Error, ValueError, RecursionError):
        right = False
    if not right:
        raise InvalidFieldError("`cursor` must be the `next_cursor` of the page before.")
    return key


def batch_in(conn: Connection, batch_id: BatchId, owner_id: OwnerId) -> Batch | None:
    """Read a batch within a transaction."""
    return batches.get(conn, batch_id, owner_id=owner_id)
