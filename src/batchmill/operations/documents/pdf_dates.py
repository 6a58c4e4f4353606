"""Dates as PDF writes them."""

import re
from datetime import UTC, datetime, timedelta, timezone

# PDF 32000-1, 7.9.4: D:YYYYMMDDHHmmSSOHH'mm', all but the year may be missing.
_DATE = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:([-+Z])(?:(\d\d)'?(?:(\d\d)'?)?)?)?"
)


def iso_date(text: str) -> str | None:
    """Return a PDF date as ISO 8601, with its zone where it has one; None when it is none."""
    found = _DATE.match(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(each or 0) for each in found.groups()[:6])
    try:
        zone = _zone(*found.groups()[6:])
        moment = datetime(year, month or 1, day or 1, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
    return moment.isoformat()


def _zone(sign: str | None, hours: str | None, minutes: str | None) -> timezone | None:
    if sign is None:
        return None
    shift = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return timezone(-shift if sign == "-" else shift) if shift else UTC
