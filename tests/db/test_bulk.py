"""Many rows at once are the same rows as one by one, on each database."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

import databases
from batchmill.db import batches, bulk, items, listing
from batchmill.db.connect import Database
from batchmill.db.schema import secrets
from batchmill.db.types import NOW
from batchmill.model import ids
from batchmill.model.batch import LOCAL_OWNER, BatchDraft, BatchId
from batchmill.model.item import ArchiveEntry, Input, Item, ItemStatus, NewItem, SkipReason

BATCH = BatchId("bat_1")
DRAFT = BatchDraft({"steps": []}, "", "", "anonymous", 0, keep_open=True)
NAMES = ["tab\there", "line\nbreak", "back\\slash", "\\N", "\\.", "quote'\"", "", "ü🦊", "a,b;{c}"]


def new_items(number: int) -> list[NewItem]:
    return [
        NewItem(
            item_id,
            Input(
                key="in/1",
                name=NAMES[at % len(NAMES)],
                bytes=at,
                sha256=None if at % 2 else "ab",
                entry=ArchiveEntry(at, at, 8, 2**32 - 1) if at % 3 else None,
            ),
            options={"watermark": {"text": NAMES[at % len(NAMES)]}} if at % 4 else None,
            skipped=None if at % 5 else SkipReason.UNSUPPORTED,
        )
        for at, item_id in enumerate(ids.item_ids(number))
    ]


def stored(conn: Connection, pages: Sequence[Sequence[NewItem]]) -> Sequence[Item]:
    batches.insert(conn, BATCH, DRAFT, owner_id=LOCAL_OWNER, upload_ms=1000)
    position = 0
    for page in pages:
        items.insert(conn, BATCH, page, first_position=position)
        position += len(page)
    return listing.page(conn, BATCH, limit=1000)


def test_many_at_once_are_what_they_were_sent_as(database: Database) -> None:
    sent = new_items(3 * bulk.FEW)
    found = asyncio.run(database.run(stored, [sent]))

    assert [(each.id, each.input, each.options) for each in found] == [
        (each.id, each.input, each.options) for each in sent
    ]
    assert [each.position for each in found] == list(range(len(sent)))
    assert [each.result and each.result.skipped for each in found] == [
        each.skipped for each in sent
    ]
    assert {each.status for each in found if each.ended_at} == {ItemStatus.SKIPPED}


def test_a_row_that_is_there_already_is_refused_among_many_as_alone(database: Database) -> None:
    rows = [{"name": f"n{at}", "value": "v"} for at in range(2 * bulk.FEW)]
    with pytest.raises(IntegrityError):
        asyncio.run(database.run(bulk.insert, secrets, [*rows, rows[0]]))

    assert asyncio.run(database.read(lambda conn: conn.execute(select(secrets)).all())) == []


def changed(conn: Connection, values: Sequence[str]) -> Sequence[str]:
    """Set rows to these values at once, and read them."""
    names = [f"n{at}" for at in range(len(values))]
    bulk.insert(conn, secrets, [{"name": name, "value": ""} for name in names])
    rows = [{"name": name, "value": value} for name, value in zip(names, values, strict=True)]
    assert bulk.change(conn, secrets, rows, same=("name",), now=NOW) == len(rows)
    return list(conn.scalars(select(secrets.c.value).order_by(secrets.c.name)))


def test_many_are_changed_to_what_they_are_told(database: Database) -> None:
    assert asyncio.run(database.run(changed, NAMES)) == NAMES


@pytest.mark.parametrize("kind", databases.SERVERS)
def test_what_no_server_stores_is_left_out_of_what_is_stored(kind: str, tmp_path: Path) -> None:
    with databases.new_database(kind, tmp_path) as database:
        given = ["a\0b", "half \ud83e", "🦊", "\\u0000", "\\ud800"]
        kept = ["ab", "half ?", "🦊", "\\u0000", "\\ud800"]

        assert asyncio.run(database.run(changed, given)) == kept
