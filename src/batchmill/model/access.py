"""Who may do what: API keys and their scopes."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from batchmill.model.batch import OwnerId

KeyId = NewType("KeyId", str)


class Scope(StrEnum):
    """What a key permits; `admin` permits everything, and keys themselves."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the database knows it; the secret itself is kept nowhere."""

    id: KeyId
    owner_id: OwnerId
    name: str
    tier: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    used_at: datetime | None = None
    revoked_at: datetime | None = None

    def permits(self, scope: Scope) -> bool:
        """Say whether the key may be used for this."""
        return scope in self.scopes or Scope.ADMIN in self.scopes
