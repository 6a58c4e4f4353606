"""A private MariaDB on loopback, with its files in a folder: to be set up otherwise."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import parts
from support.ports import free_port


@contextmanager
def running(folder: Path, *options: str) -> Iterator[str]:
    """Run a server with these options on files below `folder`; yield its URL."""
    install = parts.program("mariadb-install-db", part="MariaDB's programs")
    daemon = parts.program("mariadbd", part="MariaDB's programs")
    common = ["--no-defaults", f"--datadir={folder / 'mariadb'}"]
    if os.geteuid() == 0:
        common.append("--user=root")
    made = [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    port = free_port()
    command = [daemon, *common, "--bind-address=127.0.0.1", f"--port={port}"]
    command += [f"--socket={folder / 'mariadb.sock'}", f"--pid-file={folder / 'mariadb.pid'}"]
    with (folder / "mariadb.log").open("wb") as log:
        process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
    try:
        while b"ready for connections" not in (folder / "mariadb.log").read_bytes():
            assert process.poll() is None, (folder / "mariadb.log").read_text()
        yield f"mysql+pymysql://root@127.0.0.1:{port}/mysql"
    finally:
        process.terminate()
        process.wait(60)
