"""Every storage key there is. Keys are made of our ids and fixed words, never of client text."""

from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId


def batch_prefix(batch_id: BatchId) -> str:
    """Return the folder that holds everything of a batch."""
    return f"batches/{batch_id}/"


def input_key(batch_id: BatchId, upload_no: int) -> str:
    """Return where file number `upload_no` of a batch lies as it was sent."""
    return f"{batch_prefix(batch_id)}in/{upload_no}"


def attempt_prefix(batch_id: BatchId, item_id: ItemId, attempt: int) -> str:
    """Return the folder of one attempt: a stale worker can't overwrite a newer one's outputs."""
    return f"{batch_prefix(batch_id)}out/{item_id}/{attempt}/"


def output_key(batch_id: BatchId, item_id: ItemId, attempt: int, number: int) -> str:
    """Return where output number `number` (0-based) of an attempt lies."""
    return f"{attempt_prefix(batch_id, item_id, attempt)}{number}"
