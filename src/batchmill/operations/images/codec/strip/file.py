"""Takes metadata out of a file without decoding its pixels.

What a viewer needs to show the picture rightly stays: colour profile, orientation, animation.
"""

import struct
from collections.abc import Callable, Mapping

from batchmill.model.media import AVIF, GIF, JPEG, PNG, TIFF, WEBP, MediaType
from batchmill.operations.images.codec.strip import avif, gif, jpeg, png, tiff, webp
from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_STRIPPERS: Mapping[MediaType, Callable[[bytes, Policy], bytes | None]] = {
    JPEG: jpeg.stripped,
    PNG: png.stripped,
    WEBP: webp.stripped,
    GIF: gif.stripped,
    TIFF: tiff.stripped,
    AVIF: avif.stripped,
}


def stripped(content: bytes, media: MediaType, policy: Policy) -> bytes | None:
    """Return a file's bytes with only the metadata that the policy keeps.

    None where that can't be done without encoding again. Idempotent.

    Raises:
        MalformedError: the structure is damaged.
    """
    if policy.keep == "all":
        return content
    if media not in _STRIPPERS:
        return None
    try:
        return _STRIPPERS[media](content, policy)
    except (struct.error, IndexError) as error:
        raise MalformedError(f"damaged {media.mime}") from error
