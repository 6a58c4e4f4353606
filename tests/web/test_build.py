"""How the page comes into an installation: built once, and what is said where it can't be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.web.page import STATIC
from support import parts

ROOT = Path(__file__).parents[2]
BUILD = "import hatch_build, pathlib; print(len(hatch_build.page(pathlib.Path())))"
OFFLINE = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "npm_config_offline": "true"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A source tree whose page was built already."""
    if not (STATIC / ".stamp").exists():
        parts.missing("the built page")
    shutil.copy(ROOT / "hatch_build.py", tmp_path)
    shutil.copytree(
        ROOT / "frontend", tmp_path / "frontend", ignore=shutil.ignore_patterns("node_modules")
    )
    shutil.copytree(STATIC, tmp_path / "src" / "batchmill" / "web" / "static")
    return tmp_path


def build(clone: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BUILD],
        cwd=clone,
        env={**OFFLINE, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_second_build_needs_neither_node_nor_a_network(clone: Path) -> None:
    done = build(clone, PATH="")

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3


def test_tests_and_packages_of_the_page_are_no_reason_to_build_again(clone: Path) -> None:
    (clone / "frontend" / "tests" / "more.test.ts").write_text("new")
    (clone / "frontend" / "node_modules").mkdir()
    (clone / "frontend" / "node_modules" / "package.js").write_text("new")

    assert build(clone, PATH="").returncode == 0


def test_a_change_without_node_and_package_index_says_what_is_missing(clone: Path) -> None:
    (clone / "frontend" / "src" / "main.tsx").write_text("changed")
    done = build(clone, PATH="")

    assert done.returncode != 0
    assert "built with Node 20.19 or newer; pip could not download" in done.stderr
    assert (clone / "src/batchmill/web/static/index.html").exists(), "the old page was removed"


def test_a_failing_npm_is_quoted_in_a_sentence(clone: Path) -> None:
    parts.program("npm", part="Node.js with npm")
    (clone / "frontend" / "package-lock.json").unlink()
    done = build(clone)

    assert done.returncode != 0
    assert "The web page could not be built: `npm ci` failed." in done.stderr
    assert "package-lock.json" in done.stderr.partition("npm said:")[2]
