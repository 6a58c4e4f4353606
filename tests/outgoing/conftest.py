from collections.abc import Callable, Iterator

import pytest

from support.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server on loopback that answers 200 until it is told otherwise."""
    with Receiver() as running:
        yield running


@pytest.fixture
def resolving() -> Callable[..., object]:
    """Make a name server that gives one answer after the other, and keeps its questions."""

    def make(*answers: list[str]):
        left = list(answers)
        asked: list[str] = []

        async def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return left.pop(0)

        resolve.asked = asked
        return resolve

    return make
