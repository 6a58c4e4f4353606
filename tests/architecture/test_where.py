"""ARCHITECTURE.md names what exists, and answers each question with one or two files."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "batchmill"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
QUESTIONS = 12
LONGEST_PAGE = 130
PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml)|(?:[\w.-]+/)+(?:[\w-]+)?)`")


def _exists(path: str) -> bool:
    return (PACKAGE / path).exists() or (ROOT / path).exists()


def _answers() -> dict[str, list[str]]:
    rows = re.findall(r"^\| ([^|]+\?) \| (.+) \|$", PAGE, re.MULTILINE)
    return {question: PATH.findall(answer) for question, answer in rows}


def _tree() -> set[str]:
    """Return the folders of the drawn tree, from the package down."""
    drawn = PAGE.partition("## The tree")[2].partition("```\n")[2].partition("```")[0]
    folders, above = set(), [""]
    for found in re.finditer(r"^( +)(\w+)/ ", drawn, re.MULTILINE):
        depth = len(found[1]) // 2
        above[depth:] = [f"{above[depth - 1]}{found[2]}/"]
        folders.add(above[depth])
    return folders


def test_every_path_that_is_named_exists() -> None:
    assert [path for path in PATH.findall(PAGE) if not _exists(path)] == []


def test_each_question_is_answered_by_one_or_two_files() -> None:
    answers = _answers()

    assert len(answers) == QUESTIONS
    assert {question for question, files in answers.items() if not 1 <= len(files) <= 2} == set()


def test_the_tree_shows_every_folder_of_the_package() -> None:
    real = {
        f"{path.parent.relative_to(PACKAGE).as_posix()}/"
        for pattern in ("*.py", "*.toml")
        for path in PACKAGE.rglob(pattern)
        if path.parent != PACKAGE
    }
    assert _tree() == real


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= LONGEST_PAGE
