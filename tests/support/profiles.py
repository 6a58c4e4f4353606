"""Colour profiles for tests."""

import struct

from PIL import ImageCms


def display_p3() -> bytes:
    """Return a small Display P3 profile: sRGB's with other primaries, by ImageCms' own bytes."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(count):
        name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if name in primaries:
            struct.pack_into(
                ">3i", profile, offset + 8, *(round(v * 65536) for v in primaries[name])
            )
    return bytes(profile)
