"""Different values are counted exactly while few, and closely when many."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.documents.distinct import EXACT, Distinct


@given(st.lists(st.lists(st.text(max_size=100), max_size=20), max_size=10))
def test_few_values_are_counted_exactly_however_they_come(chunks: list[list[str]]) -> None:
    distinct = Distinct()
    for chunk in chunks:
        distinct.add(chunk)
    assert distinct.is_exact
    assert distinct.count() == len({value for chunk in chunks for value in chunk})


@pytest.mark.parametrize("form", ["{}", "{:08x}", "2021-{}", "a long name, the same but for {}"])
def test_many_values_are_estimated_within_seven_percent(form: str) -> None:
    values = [form.format(number) for number in range(6 * EXACT)]
    distinct = Distinct()
    distinct.add(values)
    assert not distinct.is_exact
    assert abs(distinct.count() - len(values)) < 0.07 * len(values)


@pytest.mark.parametrize("chunk", [1_000, 7_777, 50_000])
def test_order_and_chunks_make_no_difference_to_the_estimate(chunk: int) -> None:
    values = [f"value {number} {'x' * (number % 90)}" for number in range(3 * EXACT)]
    whole, parts = Distinct(), Distinct()
    whole.add(values)
    turned = random.Random(1).sample(values, len(values)) * 2  # noqa: S311
    for at in range(0, len(turned), chunk):
        parts.add(turned[at : at + chunk])
    assert parts.count() == whole.count()
