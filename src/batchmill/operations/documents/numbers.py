"""Numbers as people write them: decimal point or comma, thousands marks, currencies, percent."""

import re
from dataclasses import dataclass
from math import isfinite

POINT, COMMA = ".", ","
"""The two conventions, named by their decimal mark."""

_SYMBOLS = "€ $ £ ¥ ₺ ₽ ₹ ₩ ₪ ₫ ₴ ₦ ฿ ₱ US$ R$ zł Kč kr Ft lei лв TL"
_CODES = (
    "EUR USD GBP JPY CNY CHF TRY INR RUB KRW BRL CAD AUD NZD SEK NOK DKK PLN CZK HUF RON BGN "
    "UAH ILS AED SAR ZAR MXN THB SGD HKD"
)
CURRENCIES = frozenset(_SYMBOLS.split()) | frozenset(_CODES.split())
_UNIT = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_NUMBER = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[-+−]?)\s*(?P<before>{_UNIT})?\s*(?P<inner>[-+−]?)"
    rf"(?P<body>\d[\d.,'’ \u00a0\u202f]*|[.,]\d+)(?P<power>[eE][-+]?\d{{1,3}})?"
    rf"\s*(?P<after>{_UNIT}|%)?\s*(?P<close>\))?"
)
_BODY = {
    POINT: re.compile(r"(?:0|[1-9]\d*|[1-9]\d{0,2}([,'’ \u00a0\u202f])\d{3}(?:\1\d{3})*)?(\.\d+)?"),
    COMMA: re.compile(r"(?:0|[1-9]\d*|[1-9]\d{0,2}([.'’ \u00a0\u202f])\d{3}(?:\1\d{3})*)?(,\d+)?"),
}
_MARKS = str.maketrans("", "", "'’ \u00a0\u202f")
_DIGITS = 18
"""Longer whole numbers are identifiers: no float and no JSON reader keeps them."""

Value = int | float


@dataclass(frozen=True, slots=True)
class Number:
    """One cell read by both conventions; None where it is no number by that one."""

    point: Value | None
    comma: Value | None
    unit: str = ""

    @property
    def plain(self) -> bool:
        """Whether both conventions agree, as for whole numbers without marks."""
        return self.point is not None and self.point == self.comma


def read_number(text: str) -> Number | None:
    """Read a cell (no space around it) as a number; None when it is none.

    Leading zeros make an identifier, not a number: `007`, `02134`.
    """
    found = _NUMBER.fullmatch(text)
    if found is None or bool(found["open"]) != bool(found["close"]):
        return None
    if (found["sign"] and found["inner"]) or (found["before"] and found["after"]):
        return None
    negative = bool(found["open"]) or "-" in _ascii_sign(found["sign"] + found["inner"])
    body, power = found["body"].rstrip(" \u00a0\u202f"), found["power"] or ""
    point, comma = (_value(body, power, mark, negative=negative) for mark in (POINT, COMMA))
    if point is None and comma is None:
        return None
    return Number(point, comma, found["before"] or found["after"] or "")


def _ascii_sign(sign: str) -> str:
    return sign.replace("−", "-")


def _value(body: str, power: str, mark: str, *, negative: bool) -> Value | None:
    found = _BODY[mark].fullmatch(body)
    if found is None or not body:
        return None
    text = body.translate(_MARKS).replace(COMMA if mark == POINT else POINT, "")
    if not found[2] and not power:
        return _whole(text, negative=negative)
    value = float(text.replace(COMMA, POINT) + power)
    if not isfinite(value):
        return None
    return -value if negative else value


def _whole(text: str, *, negative: bool) -> int | None:
    if len(text) > _DIGITS:
        return None
    return -int(text) if negative else int(text)
