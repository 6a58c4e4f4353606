"""Names and numbers of priorities become one rank."""

import re

import pytest

from batchmill.model.priority import RANKS, rank


@pytest.mark.parametrize(("first", "then"), [(1, 2), (7, 8), (14, 15), ("high", "normal")])
def test_what_runs_first_has_the_lower_rank(first: str | int, then: str | int) -> None:
    assert rank(first) < rank(then)


@pytest.mark.parametrize("number", ["1", "8", "15"])
def test_a_number_as_a_text_is_the_number(number: str) -> None:
    assert rank(number) == rank(int(number))


@pytest.mark.parametrize("wrong", ["", "urgent", "-1", 0, -3, 16, "16"])
def test_any_other_priority_is_refused(wrong: str | int) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(str(wrong))}$"):
        rank(wrong)


def test_names_rank_between_the_ends_of_the_numbers() -> None:
    ends = sorted((rank(1), rank(15)))
    assert all(ends[0] <= each <= ends[1] for each in RANKS.values())
