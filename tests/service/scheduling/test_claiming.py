"""Which of the files that a worker has claimed begins next."""

from dataclasses import replace

from batchmill.db.connect import Database
from batchmill.model.batch import OwnerId
from batchmill.service.scheduling.claiming import Waiting, next_place
from batchmill.service.scheduling.usage import CHUNK_S
from support.rows import Rows


def files(database: Database, owners: str) -> list[Waiting]:
    """Return claimed files of these owners, each named by one letter, in this order."""
    rows = Rows(database)
    rows.batch(len(owners))
    claimed = zip(rows.take(), owners, strict=True)
    return [Waiting(replace(each, owner_id=OwnerId(owner)), 1.0) for each, owner in claimed]


def test_an_owner_without_a_slot_goes_first_and_else_who_came_first(database: Database) -> None:
    waiting = files(database, "aaabbc")
    at_work: list[OwnerId] = []
    picked = ""
    while waiting:
        at_work = [waiting.pop(next_place(waiting, at_work)).claimed.owner_id]
        picked += at_work[0]
    assert picked == "ababac"


def test_files_of_one_owner_begin_in_their_order(database: Database) -> None:
    assert next_place(files(database, "aaaa"), [OwnerId("a")]) == 0


def test_what_has_waited_for_a_second_is_passed_over_no_more(database: Database) -> None:
    old, new = files(database, "ab")
    assert next_place([old, new], [OwnerId("a")]) == 1
    old = replace(old, since_s=old.since_s - CHUNK_S - 1)
    assert next_place([old, new], [OwnerId("a")]) == 0
