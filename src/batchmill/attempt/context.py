"""What an attempt works with: everything but the file and the pipeline."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batchmill.attempt.segments import FindOperation
from batchmill.model.limits import Limits
from batchmill.sandbox.channel import OnProgress
from batchmill.sandbox.pool import Pool


@dataclass(frozen=True, slots=True)
class Remote:
    """What remote calls need: how many may run at once, and the clients they speak through."""

    slots: asyncio.Semaphore
    clients: Any = None


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """The pool, the limits and the clients of one owner's attempts.

    `find` is `operations.registry.get`; `remote` may be None where no pipeline needs it.
    `on_progress` hears of the running step, at most once a second; `on_remote` is called when a
    remote call begins: from then on the attempt needs no child for a while.
    """

    pool: Pool
    find: FindOperation
    owner: str
    limits: Limits = field(default_factory=Limits)
    remote: Remote | None = None
    on_progress: OnProgress | None = None
    on_remote: Callable[[], None] | None = None
