from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from support.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server on loopback that answers 200 until it is told otherwise."""
    with Receiver() as running:
        yield running


@dataclass
class Resolver:
    """A name server that gives one answer after the other, and keeps its questions."""

    left: list[list[str]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.left.pop(0)


Resolving = Callable[..., Resolver]


@pytest.fixture
def resolving() -> Resolving:
    """Make a name server of its answers."""

    return lambda *answers: Resolver(list(answers))
