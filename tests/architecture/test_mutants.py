"""The lists of mutants fit the code; that a test notices each, `make mutants` shows."""

from pathlib import Path

import pytest

from mutants.mutant import Mutant, listed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", listed(), ids=lambda mutant: mutant.name)
def test_a_mutant_breaks_one_place_of_a_file_and_names_tests_that_there_are(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.broken(text) != text
    for test in mutant.tests:
        assert (ROOT / test.partition("::")[0]).is_file()
