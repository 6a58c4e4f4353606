"""What an attempt works with: everything but the file and the pipeline."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batchmill.attempt.segments import FindOperation
from batchmill.model.limits import Limits
from batchmill.sandbox.child_process import Hooks
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
    `hooks` hear when the file begins, and of the running step; `on_remote` is called when a
    remote call begins: from then on the attempt needs no child for a while.
    """

    pool: Pool
    find: FindOperation
    owner: str
    limits: Limits = field(default_factory=Limits)
    remote: Remote | None = None
    hooks: Hooks = field(default_factory=Hooks)
    on_remote: Callable[[], None] | None = None
