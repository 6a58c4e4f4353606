"""Which of the files that a worker has claimed begins next."""

from dataclasses import replace

from batchmill.db.connect import Database
from batchmill.model.batch import OwnerId
from batchmill.service.scheduling.claiming import ClaimedQueue, Waiting
from batchmill.service.scheduling.transitions import Claimed
from support.rows import Rows


def files(database: Database, owners: str) -> list[Waiting]:
    """Return claimed files of these owners, each named by one letter, in this order."""
    rows = Rows(database)
    rows.batch(len(owners))
    claimed = zip(rows.take(), owners, strict=True)
    return [Waiting(replace(each, owner_id=OwnerId(owner)), 1.0) for each, owner in claimed]


def names(picked: list[Claimed]) -> str:
    return "".join(each.owner_id for each in picked)


def test_an_owner_without_a_slot_goes_first_and_else_who_came_first(database: Database) -> None:
    queue = ClaimedQueue()
    queue.add(files(database, "aaabbc"), first=False)
    at_work: list[OwnerId] = []
    picked = []
    while len(queue):
        picked.append(queue.pick(at_work).claimed)
        at_work = [picked[-1].owner_id]
    assert names(picked) == "ababac"


def test_files_of_one_owner_begin_in_their_order(database: Database) -> None:
    queue = ClaimedQueue()
    waiting = files(database, "aaaa")
    queue.add(waiting, first=False)
    picked = [queue.pick([OwnerId("a")]) for _ in range(len(waiting))]
    assert picked == waiting


def test_what_is_taken_out_counts_no_more(database: Database) -> None:
    queue = ClaimedQueue()
    queue.add(files(database, "aab"), first=False)
    assert len(queue.take_out(lambda each: each.claimed.owner_id == "b")) == 1
    assert names([queue.pick([OwnerId("a")]).claimed, queue.pick([]).claimed]) == "aa"
