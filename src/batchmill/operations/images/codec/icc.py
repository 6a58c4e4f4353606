"""Reads just enough of a colour profile to know whether it is sRGB by another name."""

import struct
from itertools import pairwise

_PRIMARIES = {
    b"rXYZ": (0.4360, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
"""sRGB's primaries adapted to D50 (IEC 61966-2-1, as in the ICC's own sRGB profiles)."""

_SAMPLES = (0.1, 0.25, 0.5, 0.75)
_TOLERANCE = 0.004
_TAG_BYTES = 12
_HEADER_BYTES = 128
_MAX_TAGS = 100


def is_srgb(profile: bytes) -> bool:
    """Tell whether converting from `profile` to sRGB would change nothing that shows.

    Decided by primaries and tone curves, since names lie: a profile that is damaged, is built
    from tables, or is merely near is not sRGB.
    """
    try:
        tags = _tags(profile)
        if profile[16:20] != b"RGB " or b"A2B0" in tags:
            return False
        return _has_primaries(tags) and all(
            _has_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")
        )
    except (KeyError, struct.error, IndexError, OverflowError):
        return False


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
    tags = {}
    for number in range(min(count, _MAX_TAGS)):
        at = _HEADER_BYTES + 4 + number * _TAG_BYTES
        name, offset, size = struct.unpack_from(">4sII", profile, at)
        tags[name] = profile[offset : offset + size]
    return tags


def _has_primaries(tags: dict[bytes, bytes]) -> bool:
    for name, wanted in _PRIMARIES.items():
        found = (value / 65536 for value in struct.unpack_from(">3i", tags[name], 8))
        if any(abs(a - b) > _TOLERANCE for a, b in zip(found, wanted, strict=True)):
            return False
    return True


def _has_curve(tag: bytes) -> bool:
    return all(abs(_curve(tag, x) - _srgb(x)) <= _TOLERANCE for x in _SAMPLES)


def _srgb(x: float) -> float:
    return float(((x + 0.055) / 1.055) ** 2.4)


def _curve(tag: bytes, x: float) -> float:
    if tag[:4] == b"para":
        return _parametric(tag, x)
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return x
    if count == 1:
        (gamma,) = struct.unpack_from(">H", tag, 12)
        return float(x ** (gamma / 256))
    values = struct.unpack_from(f">{count}H", tag, 12)
    at = x * (count - 1)
    low, high = list(pairwise(values))[int(at)]
    return float((low + (high - low) * (at - int(at))) / 65535)


def _parametric(tag: bytes, x: float) -> float:
    """Type 3 of ICC.1:2022 section 10.18, the form in which sRGB is written."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind != 3:  # noqa: PLR2004
        return -1.0
    gamma, a, b, c, d = (value / 65536 for value in struct.unpack_from(">5i", tag, 12))
    return float((a * x + b) ** gamma) if x >= d else c * x
