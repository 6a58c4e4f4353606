"""What the house rules say about the shape of the code, checked on the code itself."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "batchmill"
SOURCES = sorted(PACKAGE.rglob("*.py"))
HISTORY = PACKAGE / "db" / "migrations" / "versions"
"""Scripts that Alembic writes: a list of columns, long by nature, never changed afterwards."""
FILE_LINES = 600
FUNCTION_LINES = 60


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parent != HISTORY], ids=_relative)
def test_no_file_and_no_function_is_long(path: Path) -> None:
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in _functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES
    }
    assert _lines(path) <= FILE_LINES
    assert not long


def test_every_init_file_but_the_root_is_empty() -> None:
    full = [_relative(p) for p in SOURCES if p.name == "__init__.py" and p.read_text().strip()]

    assert full == ["src/batchmill/__init__.py"]


def test_settings_of_a_dialect_are_read_in_compat_alone() -> None:
    read = re.compile(r"settings\.(images|documents|photos|sequential)\b")
    compat = PACKAGE / "api" / "compat"
    leaks = [_relative(p) for p in SOURCES if read.search(p.read_text()) and p.parent != compat]
    assert not leaks


def test_every_module_says_what_it_is() -> None:
    silent = [
        _relative(path)
        for path in SOURCES
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_no_test_pretends_with_a_mock() -> None:
    pretend = re.compile(r"unittest\.mock|\bmocker\b|MagicMock|monkeypatch\.setattr")
    guilty = [
        _relative(path)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__) and pretend.search(path.read_text(encoding="utf-8"))
    ]
    assert not guilty


def test_no_test_skips_itself_but_by_the_list_of_parts() -> None:
    skips = re.compile(r"pytest\.skip\b|\bskipif\b|importorskip|mark\.skip\b|\bxfail\b|skipTest")
    guilty = [
        _relative(path)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path not in {Path(__file__), ROOT / "tests/support/parts.py"}
        and skips.search(path.read_text(encoding="utf-8"))
    ]
    assert not guilty


def test_every_package_that_is_named_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(each for extra in extras for each in extra)]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    names = {_normal(re.split(r"[\[<>=;~! ]", each, maxsplit=1)[0]) for each in wanted}

    assert names - {_normal(line.split("==")[0]) for line in pinned.splitlines()} == {"batchmill"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_bytes_are_forced_to_the_disk_through_one_door() -> None:
    """A storage that calls fsync by itself can't be watched, so nothing would notice its loss."""
    called = [
        _relative(path)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.fsync", "os.fdatasync"}
    ]
    assert called == ["src/batchmill/client/downloads.py"]
