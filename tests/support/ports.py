"""Ports for servers that tests start by number."""

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Below 32768, where systems take the ports that they hand out themselves: between being found
# free here and being listened at, none is given to somebody's outgoing connection.
_FIRST, _EACH = 20_000, 600
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
_turns = itertools.count(os.getpid())


def free_port() -> int:
    """Return a port at which nothing listens, and which no other worker of pytest-xdist uses."""
    for turn in itertools.islice(_turns, _EACH):
        port = _FIRST + _WORKER * _EACH + turn % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("every port is taken")


@contextmanager
def shut_port() -> Iterator[int]:
    """Hold a port at which every connection is refused for the length of the block."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
