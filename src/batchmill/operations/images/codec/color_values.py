"""Colours as people write them: #rgb, #rrggbb, #rrggbbaa."""

COLOUR_BANDS = 3
"""A picture with fewer bands is grey, with or without alpha."""

OPAQUE = 255

COLOUR_PATTERN = r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})$"


def rgba(colour: str) -> tuple[int, int, int, int]:
    """Return red, green, blue and alpha (0…255) of a text that matches `COLOUR_PATTERN`."""
    digits = colour.removeprefix("#")
    if len(digits) == 3:  # noqa: PLR2004
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue, *rest = bytes.fromhex(digits)
    return red, green, blue, rest[0] if rest else OPAQUE
