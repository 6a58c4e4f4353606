"""Turns an error that a child reported back into an exception of `errors/`."""

import re
from collections.abc import Iterator

from batchmill.errors.base import BatchmillError
from batchmill.errors.item import ItemError
from batchmill.errors.outage import OutageError
from batchmill.sandbox.messages import ReportedError

MESSAGE_CHARACTERS = 500
STEP_CHARACTERS = 200
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")


def exception(error: ReportedError) -> ItemError | OutageError:
    """Return the exception with the reported code; an unknown code makes an `ItemError` of it."""
    kind = _class_of(error)
    found = kind.__new__(kind)
    BatchmillError.__init__(found, error.message[:MESSAGE_CHARACTERS], detail=error.detail)
    found.step = None if error.step is None else error.step[:STEP_CHARACTERS]
    if isinstance(found, ItemError):
        found.keeps_original = error.keep_original
    return found


def _class_of(error: ReportedError) -> type[ItemError | OutageError]:
    for family in (ItemError, OutageError):
        for kind in _tree(family):
            if kind.code == error.code:
                return kind
    if not _CODE.fullmatch(error.code) or error.budget not in {"errors", "crashes", "timeouts"}:
        return ItemError
    fields = {"code": error.code, "retryable": error.retryable, "budget": error.budget}
    return type("ReportedItemError", (ItemError,), fields)


def _tree(
    family: type[ItemError] | type[OutageError],
) -> Iterator[type[ItemError] | type[OutageError]]:
    yield family
    for kind in family.__subclasses__():
        yield from _tree(kind)
