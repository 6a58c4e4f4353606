"""Operations that misbehave, installed the way a third party installs its own.

`faulty` runs in the child, `faulty_call` in this process. What a file is to do is said by its
name: `slow-…`, `crash-…`, `flaky-…` (fails once in a way that may pass), `wrong-…`, `escape-…`
(as a hijacked decoder may: leaves its group and never ends).
"""

import asyncio
import ctypes
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from batchmill.errors.item import UnreadableFileError
from batchmill.errors.outage import OutageError
from batchmill.model.media import Family
from batchmill.model.pipeline import Step
from batchmill.operations.contract import Options, RemoteCall, Source, Transform, Work

EVERYTHING = frozenset({Family.IMAGE, Family.DOCUMENT})


class FaultyOptions(Options):
    """Options of both."""

    seconds: float = Field(0.0, ge=0, description="How long a slow file takes.")
    together: int = Field(1, ge=1, description="How many calls wait for each other.")


_seen: Counter[str] = Counter()


def _run(work: Work, options: FaultyOptions) -> Work:
    name = work.source.name
    _seen[name] += 1
    if name.startswith("slow"):
        time.sleep(options.seconds)
    if name.startswith("crash"):
        os.abort()
    if name.startswith("escape"):
        ctypes.CDLL(None).setpgid(0, os.getpgid(os.getppid()))
        while True:
            time.sleep(60)
    if name.startswith("flaky") and _seen[name] == 1:
        raise OutageError("something is away for a moment")
    if name.startswith("wrong"):
        raise UnreadableFileError(name, "it says so itself")
    return work.with_data(attempts=_seen[name])


@dataclass(slots=True)
class Calls:
    """How many calls are under way; tests read `most` and reset it."""

    running: int = 0
    most: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    changed: asyncio.Condition | None = None


CALLS = Calls()


async def _call(source: Source, options: FaultyOptions, clients: object) -> Mapping[str, str]:
    """Wait until `together` calls are under way at once: one by one they would never end."""
    CALLS.changed = CALLS.changed or asyncio.Condition()
    async with CALLS.changed:
        CALLS.running += 1
        CALLS.most = max(CALLS.most, CALLS.running)
        CALLS.changed.notify_all()
        await CALLS.changed.wait_for(lambda: CALLS.most >= options.together)
    try:
        CALLS.seen[source.name] += 1
        await asyncio.sleep(options.seconds if source.name.startswith("slow") else 0)
        if source.name.startswith("flaky") and CALLS.seen[source.name] == 1:
            raise OutageError("the other server answered 503")
        if source.name.startswith("wrong"):
            raise UnreadableFileError(source.name, "the other server says so")
    finally:
        CALLS.running -= 1
    return {"answer": source.name}


FAULTY = Transform("faulty", "Misbehave.", 1, EVERYTHING, FaultyOptions, _run)
COPY = (Step("resize", {"width": 16, "height": 16}, id="copy"),)
FAULTY_CALL = RemoteCall(
    "faulty_call", "Misbehave.", 1, EVERYTHING, FaultyOptions, lambda options: COPY, _call
)
