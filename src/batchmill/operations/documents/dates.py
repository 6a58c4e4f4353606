"""Dates as people write them; day and month stay open where a value does not tell."""

import re
from dataclasses import dataclass
from datetime import date, time

DAY_FIRST, MONTH_FIRST = "DD/MM", "MM/DD"

_TIME = (
    r"(?:[T ,]\s*(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d{1,9})?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?:Z|UTC|[+-]\d\d:?\d\d)?)?"
)
_ISO = re.compile(
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})" + _TIME
)
_SHORT = re.compile(
    r"(?P<a>\d{1,2})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<year>\d{4}|\d\d)" + _TIME
)
_DAY_NAME = re.compile(
    r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[. -]\s*(?P<name>[^\W\d_]{3,10})[.,]?[ -](?P<year>\d{4}|\d\d)"
    + _TIME
)
_NAME_DAY = re.compile(
    r"(?P<name>[^\W\d_]{3,10})\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?P<year>\d{4})" + _TIME
)
_MONTH_NAMES = (
    "january february march april may june july august september october november december",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "jan feb mär apr mai jun jul aug sept okt nov dez",
)
MONTHS = {
    name: number for names in _MONTH_NAMES for number, name in enumerate(names.split(), start=1)
}
_PIVOT = 69  # two-digit years: 69–99 are 19xx, as POSIX strptime reads them


@dataclass(frozen=True, slots=True)
class Day:
    """One cell as ISO 8601 text, read day first and month first; None where that is no date.

    `form` is how it was written, with `a/b` for a day and month that may be either.
    """

    day_first: str | None
    month_first: str | None
    form: str


def read_date(text: str) -> Day | None:
    """Read a cell (no space around it) as a date, with or without a time of day."""
    if found := _ISO.fullmatch(text):
        return _certain(found, int(found["month"]), f"YYYY{found['mark']}MM{found['mark']}DD")
    if found := _SHORT.fullmatch(text):
        return _short(found)
    if found := _DAY_NAME.fullmatch(text) or _NAME_DAY.fullmatch(text):
        month = MONTHS.get(found["name"].lower())
        return None if month is None else _certain(found, month, "D month YYYY")
    return None


def _short(found: re.Match[str]) -> Day | None:
    mark, first, second = found["mark"], int(found["a"]), int(found["b"])
    day_first = _iso(found, month=second, day=first)
    month_first = None if mark == "." else _iso(found, month=first, day=second)
    if day_first is None and month_first is None:
        return None
    year = "YYYY" if len(found["year"]) > 2 else "YY"  # noqa: PLR2004 - digits of a year
    form = f"DD.MM.{year}" if mark == "." else f"a{mark}b{mark}{year}"
    return Day(day_first, month_first or (day_first if mark == "." else None), form)


def _certain(found: re.Match[str], month: int, form: str) -> Day | None:
    text = _iso(found, month=month, day=int(found["day"]))
    return None if text is None else Day(text, text, form)


def _iso(found: re.Match[str], *, month: int, day: int) -> str | None:
    year = int(found["year"])
    if len(found["year"]) == 2:  # noqa: PLR2004
        year += 1900 if year >= _PIVOT else 2000
    try:
        return date(year, month, day).isoformat() + _clock(found)
    except ValueError:
        return None


def _clock(found: re.Match[str]) -> str:
    if found["hour"] is None:
        return ""
    hour, half = int(found["hour"]), (found["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return f"T{time(hour, int(found['minute']), int(found['second'] or 0)).isoformat()}"
