"""Camera RAW files made for tests: a DNG as a simple camera would write it."""

import struct
from pathlib import Path

import numpy as np
import pyvips

_FORMS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 10: "i"}
_BYTE, _TEXT, _SHORT, _LONG, _RATIO, _SIGNED_RATIO = _FORMS
_LONGEST_INLINE = 4
# XYZ to linear sRGB (IEC 61966-2-1), in ten thousandths: this camera sees as a screen shows
_SRGB = [32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570]


def write_dng(
    path: Path, picture: pyvips.Image, *, orientation: int = 1, big: bool = False
) -> None:
    """Write an sRGB picture as a sensor behind a filter RGGB sees it: one value for each pixel.

    `big` writes it big-endian. The sensor data is the last thing in the file.
    """
    order = ">" if big else "<"
    mosaic = _mosaic(picture).astype(f"{order}u2").tobytes()
    path.write_bytes(_directory(picture.width, picture.height, orientation, order) + mosaic)


def _mosaic(picture: pyvips.Image) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    shown = picture.numpy() / 255.0
    linear = np.where(shown > 0.04045, ((shown + 0.055) / 1.055) ** 2.4, shown / 12.92) * 65535
    mosaic = linear[:, :, 1].copy()
    mosaic[0::2, 0::2] = linear[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = linear[1::2, 1::2, 2]
    return mosaic.astype(np.uint16)


def _directory(width: int, height: int, orientation: int, order: str) -> bytes:
    tags: list[tuple[int, int, list[int] | bytes]] = [
        (254, _LONG, [0]),
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [16]),
        (259, _SHORT, [1]),
        (262, _SHORT, [32803]),
        (271, _TEXT, b"Batchmill\0"),
        (272, _TEXT, b"Pinhole 1\0"),
        (273, _LONG, [0]),
        (274, _SHORT, [orientation]),
        (277, _SHORT, [1]),
        (278, _LONG, [height]),
        (279, _LONG, [2 * width * height]),
        (33421, _SHORT, [2, 2]),
        (33422, _BYTE, bytes([0, 1, 1, 2])),
        (50706, _BYTE, bytes([1, 4, 0, 0])),
        (50708, _TEXT, b"Batchmill Pinhole 1\0"),
        (50717, _LONG, [65535]),
        (50721, _SIGNED_RATIO, [part for value in _SRGB for part in (value, 10000)]),
        (50728, _RATIO, [1, 1] * 3),
        (50778, _SHORT, [21]),
    ]
    behind = 8 + 2 + 12 * len(tags) + 4
    longer = b""
    values = {tag: _packed(value, kind, order) for tag, kind, value in tags}
    values[273] = struct.pack(f"{order}I", behind + sum(map(_outside, values.values())))
    body = struct.pack(f"{order}H", len(tags))
    for tag, kind, value in tags:
        count = len(value) // (2 if kind in {_RATIO, _SIGNED_RATIO} else 1)
        field = values[tag].ljust(_LONGEST_INLINE, b"\0")
        if len(field) > _LONGEST_INLINE:
            place = struct.pack(f"{order}I", behind + len(longer))
            longer += field.ljust(_outside(field), b"\0")
            field = place
        body += struct.pack(f"{order}HHI", tag, kind, count) + field
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    return head + body + bytes(4) + longer


def _packed(value: list[int] | bytes, kind: int, order: str) -> bytes:
    if isinstance(value, bytes):
        return value
    return struct.pack(f"{order}{len(value)}{_FORMS[kind]}", *value)


def _outside(field: bytes) -> int:
    """Return the bytes that a value takes outside its directory, an even number."""
    return 0 if len(field) <= _LONGEST_INLINE else len(field) + len(field) % 2
