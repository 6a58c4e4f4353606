"""What a user can meet is documented, and what is documented exists."""

import re
import subprocess
import sys
from pathlib import Path

import typer

from batchmill.cli.main import app
from batchmill.errors import item, outage, request
from batchmill.errors.base import BatchmillError
from batchmill.logs import Event
from batchmill.settings.loading import ALIASES, settings

ROOT = Path(__file__).parents[2]
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))
)


def _errors(kind: type[BatchmillError] = BatchmillError) -> list[type[BatchmillError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _errors(child))]


def test_every_error_has_its_own_code_and_remedy() -> None:
    codes = [error.code for error in _errors()]

    assert len(set(codes)) == len(codes)
    assert all("remedy" in vars(error) for error in _errors())


def test_every_error_stands_with_its_family() -> None:
    for family in (request.RequestError, item.ItemError, outage.OutageError):
        assert {each.__module__ for each in _errors(family)} == {family.__module__}


def test_every_event_of_the_list_is_logged_somewhere() -> None:
    assert [event for event in Event if f"Event.{event.name}" not in SOURCE] == []


def test_every_line_is_logged_through_the_closed_list() -> None:
    outside = [
        path.name
        for path in sorted((ROOT / "src").rglob("*.py"))
        if path.name != "logs.py" and re.search(r"structlog|import logging", path.read_text())
    ]
    assert not outside


def test_every_variable_that_is_mentioned_exists() -> None:
    known = {setting.variable for setting in settings()} | {"BATCHMILL_CONFIG"}
    known |= {f"{setting.variable}_FILE" for setting in settings() if setting.secret}
    texts = [SOURCE, *(path.read_text(encoding="utf-8") for path in _written())]
    mentioned = set(re.findall(r"\bBATCHMILL_[A-Z0-9_]*[A-Z0-9]\b", "\n".join(texts)))

    assert {name for name in mentioned if "_TEST_" not in name} - known == set()


def test_every_make_command_in_the_documentation_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    texts = "\n".join(path.read_text(encoding="utf-8") for path in _written())

    assert set(re.findall(r"(?:^|`|\$ |    )make ([a-z][a-z-]*)", texts, re.MULTILINE)) <= targets


def test_every_command_that_is_mentioned_exists() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    known = group.commands.keys() | {"COMMAND"}
    texts = [SOURCE, *(path.read_text(encoding="utf-8") for path in _written())]
    mentioned = set(re.findall(r"(?:`|\$ |    )batchmill (\w+)", "\n".join(texts)))

    assert {name for name in mentioned if name.isalpha()} - known == set()


def test_every_alias_is_a_name_of_a_reference_document() -> None:
    assert all(not alias.startswith("BATCHMILL_") for alias in ALIASES)


def test_the_reference_pages_say_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _written() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
