"""ThumbHash: a picture in about 25 bytes, for a blurred stand-in while it loads.

After the published algorithm and format of Evan Wallace (https://evanw.github.io/thumbhash/).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LONGEST_PX = 100
"""Pictures are scaled to this before they are hashed; the format defines no more."""


_NOISE = 1e-9
"""Terms below this come from rounding: the channel is flat."""


@dataclass(frozen=True, slots=True)
class _Channel:
    """A channel's mean, its cosine terms scaled to 0…1, and the scale."""

    mean: float
    terms: tuple[float, ...]
    scale: float


def thumbhash(width: int, height: int, rgba: Sequence[int]) -> bytes:
    """Return the hash of a picture of `width` × `height` px, each at most 100.

    `rgba` holds red, green, blue and alpha (0…255) of every pixel, row by row.

    Raises:
        ValueError: a side is over 100 px.
    """
    if max(width, height) > LONGEST_PX:
        raise ValueError(f"{width}×{height} does not fit into {LONGEST_PX}×{LONGEST_PX}")
    light, yellow, red, alpha = _planes(rgba)
    has_alpha = any(value < 1 for value in alpha)
    most = 5 if has_alpha else 7
    longest = max(width, height)
    across = max(1, round(most * width / longest))
    down = max(1, round(most * height / longest))
    size = (width, height)
    channels = [
        _encode(light, size, max(3, across), max(3, down)),
        _encode(yellow, size, 3, 3),
        _encode(red, size, 3, 3),
    ]
    if has_alpha:
        channels.append(_encode(alpha, size, 5, 5))
    return _packed(channels, down if width > height else across, landscape=width > height)


def _planes(rgba: Sequence[int]) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return lightness, yellow-blue, red-green and alpha; what shines through is the mean."""
    alpha = [value / 255 for value in rgba[3::4]]
    total = sum(alpha)
    mean = [
        sum(a / 255 * value for a, value in zip(alpha, rgba[band::4], strict=True)) / (total or 1)
        for band in range(3)
    ]
    light, yellow, red = [], [], []
    for at, a in enumerate(alpha):
        r, g, b = (mean[band] * (1 - a) + a / 255 * rgba[at * 4 + band] for band in range(3))
        light.append((r + g + b) / 3)
        yellow.append((r + g) / 2 - b)
        red.append(r - g)
    return light, yellow, red, alpha


def _encode(plane: Sequence[float], size: tuple[int, int], across: int, down: int) -> _Channel:
    """Return the cosine terms of a plane below the diagonal of `across` × `down`."""
    width, height = size
    count = width * height
    rows = [
        [
            sum(
                value * wave
                for value, wave in zip(plane[y * width : (y + 1) * width], waves, strict=True)
            )
            for waves in _waves(across, width)
        ]
        for y in range(height)
    ]
    terms = []
    for cy, waves in enumerate(_waves(down, height)):
        for cx in range(across):
            if cx * down < across * (down - cy):
                terms.append(
                    sum(row[cx] * wave for row, wave in zip(rows, waves, strict=True)) / count
                )
    mean, *rest = terms
    scale = max((abs(term) for term in rest), default=0.0)
    if scale < _NOISE:
        return _Channel(mean, (0.0,) * len(rest), 0.0)
    return _Channel(mean, tuple(0.5 + 0.5 / scale * term for term in rest), scale)


def _waves(count: int, length: int) -> list[list[float]]:
    return [
        [math.cos(math.pi / length * number * (at + 0.5)) for at in range(length)]
        for number in range(count)
    ]


def _packed(channels: Sequence[_Channel], side: int, *, landscape: bool) -> bytes:
    light, yellow, red, *alpha = channels
    head = (
        _round(63 * light.mean)
        | _round(31.5 + 31.5 * yellow.mean) << 6
        | _round(31.5 + 31.5 * red.mean) << 12
        | _round(31 * light.scale) << 18
        | bool(alpha) << 23
    )
    tail = side | _round(63 * yellow.scale) << 3 | _round(63 * red.scale) << 9 | landscape << 15
    packed = bytearray(head.to_bytes(3, "little") + tail.to_bytes(2, "little"))
    if alpha:
        packed.append(_round(15 * alpha[0].mean) | _round(15 * alpha[0].scale) << 4)
    nibbles = list(_nibbles(channels))
    nibbles += [0] * (len(nibbles) % 2)
    packed += bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))
    return bytes(packed)


def _nibbles(channels: Sequence[_Channel]) -> Iterator[int]:
    for channel in channels:
        for term in channel.terms:
            yield _round(15 * term)


def _round(value: float) -> int:
    return math.floor(value + 0.5)
