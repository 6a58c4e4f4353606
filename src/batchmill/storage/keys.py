"""Every storage key there is. Keys are made of our ids and fixed words, never of client text."""

import re

from batchmill.model.batch import BatchId
from batchmill.model.item import ItemId
from batchmill.model.upload import UploadId

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_BATCH = re.compile(r"bat_[0-9a-z]{1,36}")
_UPLOAD = re.compile(r"upd_[0-9a-z]{1,36}")
_LONGEST_BYTES = 512


def check_key(key: str) -> str:
    """Return `key` when it is one: words of letters, digits, `.`, `_` and `-` between slashes.

    No word starts with a dot, so a key can neither climb out of its folder nor name a hidden file.

    Raises:
        ValueError: it is no key. Keys are ours, so that is a bug and never a client's mistake.
    """
    if len(key) > _LONGEST_BYTES or not _KEY.fullmatch(key):
        raise ValueError(f"not a storage key: {key[:_LONGEST_BYTES]!r}")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` when it is a key followed by a slash.

    Raises:
        ValueError: it is none; above all the empty prefix, which would mean everything.
    """
    if not prefix.endswith("/"):
        raise ValueError(f"a prefix ends with a slash: {prefix[:_LONGEST_BYTES]!r}")
    check_key(prefix[:-1])
    return prefix


BATCHES = "batches/"
"""Below it each batch has a folder named by its id."""


DIRECT_UPLOADS = "direct-uploads/"
"""Below it each upload that its sender puts into the bucket lies, named by its id.

It has no folder of its own: some services keep naming a folder long after its only key is gone.
"""


IDENTITY = "batchmill-identity.json"
"""Says which installation a store belongs to."""


RESULTS = "results/"
"""Before a key, it means the storage for results, where that is another one."""


def is_batch(folder: str) -> bool:
    """Tell whether a folder below `BATCHES` can be a batch's: what else lies there is not ours."""
    return _BATCH.fullmatch(folder) is not None


def is_direct_upload(name: str) -> bool:
    """Tell whether this is the id of an upload that goes to the bucket."""
    return _UPLOAD.fullmatch(name) is not None


def upload_key(upload_id: UploadId) -> str:
    """Return where the bytes of an upload lie that goes to the bucket."""
    return f"{DIRECT_UPLOADS}{upload_id}"


def batch_prefix(batch_id: BatchId) -> str:
    """Return the folder that holds everything of a batch."""
    return f"{BATCHES}{batch_id}/"


def input_key(batch_id: BatchId, file_id: str) -> str:
    """Return where a file of a batch lies as it was sent; `file_id` is an id of ours."""
    return f"{batch_prefix(batch_id)}in/{file_id}"


def attempt_prefix(batch_id: BatchId, item_id: ItemId, attempt: int) -> str:
    """Return the folder of one attempt: a stale worker can't overwrite a newer one's outputs.

    Item and attempt share one folder name: every new folder costs one more fsync of its parent.
    """
    return f"{batch_prefix(batch_id)}out/{item_id}.{attempt}/"


def copy_key(batch_id: BatchId, item_id: ItemId, attempt: int) -> str:
    """Return where an attempt lays the copy that another server may fetch."""
    return f"{attempt_prefix(batch_id, item_id, attempt)}copy"


def output_key(batch_id: BatchId, item_id: ItemId, attempt: int, number: int) -> str:
    """Return where output number `number` (0-based) of an attempt lies."""
    return f"{attempt_prefix(batch_id, item_id, attempt)}{number}"
