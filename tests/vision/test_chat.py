"""How long a model's server asks to be left alone, however it writes it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from batchmill.vision.chat import LONGEST_WAIT_S, retry_after_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "nan"}, 0),
        ({"retry-after": "inf"}, LONGEST_WAIT_S),
        ({"retry-after": "1e99"}, LONGEST_WAIT_S),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
    ],
)
def test_a_wait_is_read_from_every_header_and_kept_within_a_day(
    headers: dict[str, Any], seconds: float | None
) -> None:
    assert retry_after_s(headers) == seconds


def test_a_date_is_a_wait_until_then() -> None:
    at = datetime.now(UTC) + timedelta(minutes=2)

    wait_s = retry_after_s({"retry-after": format_datetime(at, usegmt=True)})

    assert wait_s is not None
    assert 60 < wait_s <= 120
