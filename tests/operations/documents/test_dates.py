"""Dates are read in the order they tell; what they do not tell stays open."""

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.documents.dates import read_date

days = st.dates(date(1000, 1, 1), date(2999, 12, 31))


@given(days, st.sampled_from(["-", "/", "."]))
def test_year_first_is_never_open(day: date, mark: str) -> None:
    found = read_date(f"{day.year}{mark}{day.month:02d}{mark}{day.day:02d}")
    assert found is not None
    assert found.day_first == found.month_first == day.isoformat()


@given(days, st.sampled_from(["/", "-"]), st.booleans())
def test_slashes_are_read_both_ways_where_both_are_dates(
    day: date, mark: str, padded: bool
) -> None:
    width = 2 if padded else 1
    found = read_date(f"{day.day:0{width}d}{mark}{day.month:0{width}d}{mark}{day.year}")
    assert found is not None
    assert found.day_first == day.isoformat()
    if day.day > 12:
        assert found.month_first is None
    else:
        assert found.month_first == date(day.year, day.day, day.month).isoformat()


@given(days)
def test_dots_are_day_first(day: date) -> None:
    found = read_date(f"{day.day}.{day.month}.{day.year}")
    assert found is not None
    assert found.day_first == found.month_first == day.isoformat()


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - as in a file
def test_the_time_of_day_is_kept_to_the_second(moment: datetime) -> None:
    found = read_date(moment.strftime("%Y-%m-%d %H:%M:%S"))
    assert found is not None
    assert found.day_first == moment.isoformat(timespec="seconds")


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("3 March 2021", "2021-03-03"),
        ("3. März 2021", "2021-03-03"),
        ("Mar 3, 2021", "2021-03-03"),
        ("03-MAR-21", "2021-03-03"),
        ("1er avril 2021", None),
        ("3 Foo 2021", None),
        ("01.02.69", "1969-02-01"),
        ("01.02.68", "2068-02-01"),
        ("2021-03-03T10:20:30Z", "2021-03-03T10:20:30"),
        ("3.3.2021 9:05", "2021-03-03T09:05:00"),
        ("2021-03-03 12:30 AM", "2021-03-03T00:30:00"),
        ("2021-03-03 12:30 PM", "2021-03-03T12:30:00"),
        ("2021-02-29", None),
        ("2020-02-29", "2020-02-29"),
        ("31.04.2021", None),
        ("2021-13-01", None),
        ("2021-03-03 25:00", None),
        ("13/13/2021", None),
        ("0000-01-01", None),
        ("2021", None),
        ("20210303", None),
    ],
)
def test_forms_that_people_use(text: str, iso: str | None) -> None:
    found = read_date(text)
    assert (found and found.day_first) == iso


@given(st.text(alphabet="0123456789./-: TJanmMärzZ,", max_size=24))
def test_any_text_is_read_or_refused_without_an_error(text: str) -> None:
    found = read_date(text)
    assert found is None or found.day_first is not None or found.month_first is not None
