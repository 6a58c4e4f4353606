"""`batchmill keys` and `workers` beside a server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.conftest import Run
from support.served import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


def test_a_key_opens_its_owners_batches_alone_until_it_is_revoked(
    batchmill: Run, server: Server, photos: Path
):
    at_home = {"BATCHMILL_SERVER": server.url, "BATCHMILL_DATA_DIR": str(server.data_dir)}
    grant = ("--name", "button", "--tier", "pro", "--owner", "shop")
    secret = batchmill("keys", "create", *grant, **at_home).stdout.strip()
    with_key = {**at_home, "BATCHMILL_API_KEY": secret}

    sent = batchmill("submit", "web", photos / "a.png", "--wait", "--json", **with_key)
    seen = batchmill("status", json.loads(sent.stdout)["id"], **at_home)
    listed = batchmill("keys", "list", **at_home).stdout
    batchmill("keys", "revoke", listed.split()[0], **at_home)
    refused = batchmill("status", **with_key)

    assert sent.returncode == 0
    assert seen.returncode == 2
    assert secret not in listed
    assert refused.returncode == 2


def test_workers_are_listed(batchmill: Run, server: Server):
    table = batchmill("workers", BATCHMILL_SERVER=server.url).stdout.splitlines()
    (worker,) = batchmill("workers", "--json", BATCHMILL_SERVER=server.url).stdout.splitlines()

    assert table[0].split() == ["worker", "host", "pid", "slots", "since"]
    assert json.loads(worker)["id"] in table[1]
