"""An upload: a file that arrives over several requests, until a batch takes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

UploadId = NewType("UploadId", str)


@dataclass(frozen=True, slots=True)
class Upload:
    """What is known of an upload. `name` is a label, `metadata` what its sender said of it."""

    id: UploadId
    name: str
    metadata: str
    length_bytes: int
    expires_at: datetime
