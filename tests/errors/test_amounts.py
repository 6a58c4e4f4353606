"""Sizes, times and numbers in sentences read as people write them."""

import pytest

from batchmill.errors.amounts import count, size, span


@pytest.mark.parametrize(
    ("number_bytes", "text"),
    [
        (50 * 2**20, "50 MB"),
        (50_000_000, "50 MB"),
        (100 * 2**20, "100 MB"),
        (5 * 2**30, "5 GB"),
        (3 * 2**29, "1.5 GB"),
        (200_000_000, "200 MB"),
        (10_000, "10 kB"),
        (52_428_801, "52.4 MB"),
        (999_999, "1 MB"),
        (999, "999 bytes"),
        (1, "1 byte"),
    ],
)
def test_a_size_is_told_in_the_unit_in_which_it_is_round(number_bytes: int, text: str) -> None:
    assert size(number_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "1 second"),
        (1, "1 second"),
        (20, "20 seconds"),
        (60, "1 minute"),
        (90, "90 seconds"),
        (121, "3 minutes"),
        (900, "15 minutes"),
        (3_600, "60 minutes"),
        (86_400, "24 hours"),
    ],
)
def test_a_time_is_never_told_as_none(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_one_is_no_plural() -> None:
    assert [count(number, "file") for number in (0, 1, 2, 12_345)] == [
        *("0 files", "1 file", "2 files", "12,345 files"),
    ]
