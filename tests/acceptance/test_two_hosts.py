"""Workers on hosts of their own: all they share with the server comes over a cable."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import databases
from batchmill.storage.objects import Bucket
from support import hosts, redis_server
from support.hosts import Host
from support.processes import Worker, serving, working
from support.sent import hashes, pictures, send, wait_for

NUMBER = 30
QUICK = {
    "BATCHMILL_LEASE_S": "3",
    "BATCHMILL_RENEW_S": "1",
    "BATCHMILL_SWEEP_S": "0.3",
    "BATCHMILL_LOG_FORMAT": "json",
}
LOOPBACK = "127.0.0.1"


def settled(folder: Path) -> list[str]:
    """Return the items that a worker settled, from its log."""
    lines = (folder / "server.log").read_text().splitlines()
    return [json.loads(line)["item"] for line in lines if '"item.finished"' in line]


@pytest.mark.long
def test_a_worker_whose_cable_is_pulled_loses_nothing_and_works_on(
    tmp_path: Path, own_bucket: Bucket
) -> None:
    with ExitStack() as stack:
        two = [stack.enter_context(hosts.connected(number)) for number in (1, 2)]
        database = stack.enter_context(databases.new_url("postgresql", tmp_path))
        redis = stack.enter_context(redis_server.private(tmp_path))
        settings = {
            **QUICK,
            "BATCHMILL_DATABASE_URL": database,
            "BATCHMILL_REDIS_URL": redis.url,
            "BATCHMILL_STORAGE_URL": own_bucket.url,
            "BATCHMILL_S3_ENDPOINT": str(own_bucket.endpoint),
            "BATCHMILL_S3_REGION": str(own_bucket.region),
            "BATCHMILL_S3_ACCESS_KEY_ID": str(own_bucket.access_key_id),
            "BATCHMILL_S3_SECRET_ACCESS_KEY": str(own_bucket.secret_access_key),
        }
        ports = [_port(settings[f"BATCHMILL_{name}"]) for name in ADDRESSES]
        stack.enter_context(hosts.forwarded(two, ports))

        def hire(host: Host) -> Worker:
            folder = tmp_path / host.name
            folder.mkdir()
            theirs = {name: _seen_from(host, value) for name, value in settings.items()}
            worker = working(folder / "data", "-j", "1", inside=host.inside, **theirs)
            return stack.enter_context(worker)

        server = stack.enter_context(serving(tmp_path / "data", "--no-worker", **settings))
        workers = [hire(host) for host in two]
        files = pictures(NUMBER)
        batch_id = send(server, files)
        wait_for(server, batch_id, 4)
        two[0].unplug()
        time.sleep(2 * float(QUICK["BATCHMILL_LEASE_S"]))
        two[0].plug()
        batch = wait_for(server, batch_id, NUMBER)
        made = hashes(server, batch_id)
        again = send(server, files)
        wait_for(server, again, NUMBER)
        remade = hashes(server, again)
        codes = [worker.stop() for worker in workers]

    shares = [settled(tmp_path / host.name) for host in two]
    assert batch["status"] == "completed"
    assert made == remade
    assert all(shares), "both hosts were to work"
    # A commit whose answer the cable swallowed counts, although its worker never tells of it.
    assert len(shares[0]) + len(shares[1]) == len({*shares[0], *shares[1]}), "settled twice"
    assert codes == [0, 0]


ADDRESSES = ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")


def _port(address: str) -> int:
    return urlsplit(address).port or 5432


def _seen_from(host: Host, value: str) -> str:
    return value.replace(LOOPBACK, host.gateway)
