"""The examples work as written: every command of the walk-through, every script."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.environment import environment
from support.pictures import scene
from support.served import Server

EXAMPLES = Path(__file__).parents[1] / "examples"
PYTHON_PAGE = EXAMPLES.parent / "docs" / "how-to" / "python.md"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh( server)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with `photos`, the examples, and programs `batchmill` and `python`."""
    (tmp_path / "photos").mkdir()
    for number in range(4):
        scene(160, 120, seed=number).write_to_file(str(tmp_path / "photos" / f"{number}.jpg"))
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    (tmp_path / "bin").mkdir()
    for name, arguments in (("batchmill", "-m batchmill"), ("python", "")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        program.chmod(0o755)
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


def run(place: Path, script: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env=environment(PATH=path, **settings),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_every_command_of_the_walk_through_works(place: Path, server: Server) -> None:
    blocks = BLOCK.findall((EXAMPLES / "walk-through.md").read_text())
    script = "set -x\n" + "".join(body for is_server, body in blocks if not is_server)

    done = run(place, script, BATCHMILL_SERVER=server.url)

    assert [body for is_server, body in blocks if is_server] == ["batchmill serve\n"]
    assert done.returncode == 0, done.stderr
    assert "4 results existed" in done.stderr
    assert "4 were done before" in done.stderr
    for folder, names in {
        "small": [f"{n}.webp" for n in range(4)],
        "shop": [f"{n}-800.jpg" for n in range(4)],
        "results": [f"{n}-800.jpg" for n in range(4)],
        "from-python": [f"{n}.webp" for n in range(4)],
        "anywhere": [f"{n}.webp" for n in range(4)],
    }.items():
        assert sorted(path.name for path in (place / folder).iterdir()) == names
    assert len((place / "results.jsonl").read_text().splitlines()) == 4


def test_the_client_says_who_did_the_work(place: Path, server: Server) -> None:
    script = "python examples/client_with_fallback.py $URL out/ photos/0.jpg"

    there = run(place, script, URL=server.url)
    here = run(place, script.replace("out", "out2"), URL="http://127.0.0.1:9")

    assert f"done by the server at {server.url}" in there.stdout
    assert "The work was done here." in here.stdout


@pytest.mark.parametrize("who", ["server", "local"])
def test_the_web_form_gives_back_a_smaller_picture(place: Path, server: Server, who: str) -> None:
    url = server.url if who == "server" else "http://127.0.0.1:9"
    picture = (place / "photos" / "0.jpg").read_bytes()
    command = [sys.executable, str(EXAMPLES / "web_form.py"), "0", url]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as form:
        try:
            assert form.stdout is not None
            address = form.stdout.readline().split()[-1]
            page = httpx.get(address, timeout=60)
            made = httpx.post(f"{address}/small", content=picture, timeout=60)
            wrong = httpx.post(f"{address}/small", content=b"no picture", timeout=60)
        finally:
            form.terminate()

    assert '<input type="file"' in page.text
    assert (made.status_code, made.headers["x-done-by"]) == (200, who)
    assert made.content[8:12] == b"WEBP"
    assert (wrong.status_code, "picture" in wrong.text) == (422, True)


def test_the_library_says_what_failed(place: Path) -> None:
    (place / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")

    done = run(place, "python examples/library.py out/ photos/0.jpg bad.jpg")

    assert done.returncode == 1
    assert "2/2" in done.stdout
    assert "bad.jpg cannot be read" in done.stderr


def test_every_line_of_python_in_the_documentation_works(place: Path, server: Server) -> None:
    blocks = PYTHON_BLOCK.findall(PYTHON_PAGE.read_text())
    (place / "page.py").write_text("\n".join([f"URL = {server.url!r}", *blocks]))

    done = run(place, "python page.py")

    assert done.returncode == 0, done.stderr
    assert "There is no preset 'wev'. Did you mean 'web'?" in done.stdout
    assert "server None" in done.stdout
    assert (place / "results.zip").exists()
