"""What every call of the command line pays, and how it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batchmill import __version__
from batchmill.cli.main import app
from cli.conftest import Run
from support.environment import environment

HEAVY = ("pyvips", "sqlalchemy", "fastapi", "httpx", "PIL", "asyncio")
COMMANDS = sorted(command.name or "" for command in app.registered_commands)


def loaded_by(*arguments: str) -> set[str]:
    program = (
        "import sys\n"
        "from batchmill.cli.main import main\n"
        f"sys.argv = {['batchmill', *arguments]!r}\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("run", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_by(*arguments).isdisjoint(HEAVY)


def test_a_local_run_loads_neither_server_nor_image_library_here(tmp_path: Path) -> None:
    loaded = loaded_by("run", "web", "-n", str(tmp_path))

    assert "batchmill.local.inputs" in loaded
    assert loaded.isdisjoint({"pyvips", "sqlalchemy", "fastapi", "httpx"})


def test_the_version_is_the_packages(batchmill: Run) -> None:
    assert batchmill("--version").stdout == f"batchmill {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page(command: str) -> None:
    done = CliRunner().invoke(app, [command, "--help"], prog_name="batchmill")

    assert done.exit_code == 0
    assert f"batchmill {command}" in done.stdout
    assert len(done.stdout.splitlines()) > 5


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-"])
def test_a_command_does_its_work_although_nobody_listens(closed: str) -> None:
    shell = f'"{sys.executable}" -m batchmill presets {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", shell], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0


def test_an_unknown_command_and_an_unknown_flag_are_wrong_usage(batchmill: Run) -> None:
    assert batchmill("rum").returncode == 2
    assert batchmill("run", "web", "x", "--outptu", "y").returncode == 2


def test_a_fault_of_our_own_is_one_sentence_unless_details_are_wanted(
    batchmill: Run, tmp_path: Path
) -> None:
    broken = tmp_path / "presets"
    broken.mkdir()
    (broken / "mine.toml").write_text("steps = 1")

    shown = batchmill("presets", "mine", BATCHMILL_PRESETS_DIR=str(broken))
    detailed = batchmill(
        "presets", "mine", BATCHMILL_PRESETS_DIR=str(broken), BATCHMILL_LOG_LEVEL="debug"
    )

    assert shown.returncode == 2
    assert "Traceback" not in shown.stderr
    assert "Traceback" in detailed.stderr
