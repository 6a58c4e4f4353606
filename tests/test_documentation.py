"""What README and quickstart tell people to type, typed: every block in a fresh folder."""

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.pictures import scene
from support.whole_server import running

ROOT = Path(__file__).parents[1]
SHELL = re.compile(r"(?:^    (?:batchmill|curl) .*\n)+", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_HERE = ("batchmill serve", "batchmill keys")
"""They run for ever, or change the machine's own server; tests/cli has them."""


def _blocks(pattern: re.Pattern[str], name: str) -> Iterator[str]:
    for found in pattern.finditer((ROOT / name).read_text(encoding="utf-8")):
        yield found[found.re.groups]


def _commands() -> list[str]:
    """Return the shell blocks without what is not for here."""
    blocks = [
        block for name in ("README.md", "docs/quickstart.md") for block in _blocks(SHELL, name)
    ]
    kept = ("\n".join(filter(_is_typed, block.splitlines())) for block in blocks)
    return [block for block in kept if block]


def _each_once(blocks: Sequence[str]) -> Iterator[str]:
    """Leave out the blocks of which every line stands in one before."""
    known: set[str] = set()
    for block in blocks:
        lines = {line.partition("#")[0].strip() for line in block.splitlines()}
        if not lines <= known:
            yield block
        known |= lines


def _is_typed(line: str) -> bool:
    return not line.strip().startswith(NOT_HERE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that the examples speak of."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "reports").mkdir()
    for number, name in enumerate(("a.jpg", "b.png", "photos/c.jpg", "photos/d.png")):
        scene(160, 120, seed=number).write_to_file(str(tmp_path / name))
    (tmp_path / "reports" / "prices.csv").write_text("name,price\ntea,2.50\ncoffee,3.10\n")
    with zipfile.ZipFile(tmp_path / "people.zip", "w") as archive:
        archive.write(tmp_path / "a.jpg", "a.jpg")
    return tmp_path


def _type(line: str, folder: Path, **variables: str) -> str:
    """Run a line in a shell as it stands; return what it printed, fail when it failed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CI": "", **variables}
    done = subprocess.run(
        ["bash", "-euc", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


COMMANDS = _commands()
REMOTE = [block for block in COMMANDS if "submit" in block or "curl" in block]
LOCAL = list(_each_once([block for block in COMMANDS if block not in REMOTE]))


@pytest.mark.parametrize("block", LOCAL)
def test_what_needs_no_server_works_as_it_is_written(block: str, folder: Path) -> None:
    lines = block.splitlines()
    assert lines
    for line in lines:
        _type(line, folder)


@pytest.mark.parametrize(
    "code", [*_blocks(PYTHON, "README.md"), *_blocks(PYTHON, "docs/quickstart.md")]
)
def test_python_examples_work_as_they_are_written(code: str, folder: Path) -> None:
    (folder / "example.py").write_text(code)
    _type("python example.py", folder)

    assert sorted(path.name for path in (folder / "small").iterdir()) == ["a.webp", "b.webp"]


def test_the_upload_works_as_it_is_written(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (code,) = _blocks(PYTHON, "docs/how-to/uploads.md")
    with running(tmp_path_factory.mktemp("server")) as server:
        (folder / "example.py").write_text(code.replace("http://127.0.0.1:3001", server.url))
        assert _type("python example.py", folder).startswith("bat_")


def test_what_talks_to_a_server_works_as_it_is_written(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path_factory.mktemp("server")) as server:
        for block in REMOTE:
            _converse(block, server.url, folder)

    assert zipfile.is_zipfile(folder / "results.zip")


def _converse(block: str, url: str, folder: Path) -> None:
    """Type a block; `bat_…` is the id that the line before printed. Results are waited for."""
    batch = ""
    for line in block.splitlines():
        typed = line.replace("http://127.0.0.1:3001", url).replace("bat_…", batch)
        if "results.zip" in typed:
            _type(f"batchmill watch {batch}", folder, BATCHMILL_SERVER=url)
        told = re.findall(r"bat_\w+", _type(typed, folder, BATCHMILL_SERVER=url))
        batch = told[0] if told else batch
