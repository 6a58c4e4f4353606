from collections.abc import Iterator

import pytest

from support import server as servers


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.running(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def server(running_server: servers.Server) -> servers.Server:
    """A server that a file's tests share; each test makes batches of its own."""
    running_server.hold()
    return running_server
