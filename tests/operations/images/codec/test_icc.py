import struct

import pytest
from PIL import ImageCms

from batchmill.operations.images.codec.icc import is_srgb
from support.profiles import display_p3

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _with_gamma(profile: bytes, gamma: float) -> bytes:
    """Return the profile with a plain power as its tone curve."""
    changed = bytearray(profile)
    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(count):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if name in {b"rTRC", b"gTRC", b"bTRC"}:
            struct.pack_into(">4sIIH", changed, offset, b"curv", 0, 1, round(gamma * 256))
    return bytes(changed)


def test_srgb_is_recognised() -> None:
    assert is_srgb(SRGB)


def test_a_name_alone_does_not_make_srgb() -> None:
    assert b"sRGB" in SRGB.replace(b"\x00", b"")
    assert not is_srgb(display_p3())


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2, 2.4])
def test_another_tone_curve_is_not_srgb(gamma: float) -> None:
    assert not is_srgb(_with_gamma(SRGB, gamma))


@pytest.mark.parametrize("length", [0, 1, 100, 132, 200, 400])
def test_a_cut_off_profile_is_not_srgb(length: int) -> None:
    assert not is_srgb(SRGB[:length])


def test_lab_is_not_srgb() -> None:
    assert not is_srgb(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
