"""A private PostgreSQL on loopback, with its files in a folder: to be measured, or killed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import parts
from support.ports import free_port

ACCOUNT = "postgres"
"""PostgreSQL refuses to run as root; then it runs as this user."""


@dataclass(frozen=True)
class PrivatePostgresql:
    """A running server: its SQLAlchemy URL and its first process."""

    url: str
    pid: int


@contextmanager
def running(folder: Path) -> Iterator[PrivatePostgresql]:
    """Make a cluster below `folder`, run it, and end it with the block."""
    cluster = folder / "postgresql"
    cluster.mkdir()
    if os.geteuid() == 0:
        shutil.chown(cluster, ACCOUNT)
    initdb = [_program("initdb"), "--auth=trust", f"--username={ACCOUNT}", "--no-sync"]
    subprocess.run([*initdb, str(cluster)], check=True, stdout=subprocess.DEVNULL, **_as())
    port = free_port()
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
    command = [_program("postgres"), "-D", str(cluster)]
    command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    with (folder / "postgresql.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **_as())
    try:
        ready = [_program("pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False, stdout=subprocess.DEVNULL).returncode:
            assert process.poll() is None, (folder / "postgresql.log").read_text()
        yield PrivatePostgresql(
            f"postgresql+psycopg://{ACCOUNT}@127.0.0.1:{port}/{ACCOUNT}", process.pid
        )
    finally:
        process.terminate()
        process.wait(60)


def _as() -> dict[str, Any]:
    return {"user": ACCOUNT} if os.geteuid() == 0 else {}


def _program(name: str) -> str:
    """Find a program of PostgreSQL; Debian keeps them off the path."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    program = shutil.which(name) or (str(max(found)) if found else None)
    if program is None:
        parts.missing("PostgreSQL's programs")
    return program
