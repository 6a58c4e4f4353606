"""placeholder: describe a picture in a few bytes, to be shown while it loads."""

from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.images.codec.color_values import COLOUR_BANDS
from batchmill.operations.images.codec.thumbhash import LONGEST_PX, thumbhash

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture


class PlaceholderOptions(Options):
    """Options of `placeholder`."""

    detail_px: int = Field(
        32,
        ge=8,
        le=LONGEST_PX,
        description="Longest side in px to which the picture is scaled before it is described.",
    )


def run(work: Work, options: PlaceholderOptions) -> Work:
    """Add `placeholders` to the data: thumbhash, mean colour and size of every picture."""
    pictures, found = [], []
    for picture in work.pictures:
        seen, described = _described(picture, options.detail_px)
        pictures.append(seen)
        found.append(described)
    return replace(work, pictures=tuple(pictures)).with_data(placeholders=found)


def _described(picture: "Picture", detail_px: int) -> tuple["Picture", dict[str, Any]]:
    """Return the picture, readable again, and its description."""
    from batchmill.operations.images.codec.geometry import first_frame, scaled, upright

    seen = replace(picture, image=picture.image.copy_memory())
    width, height = seen.size
    image = upright(replace(seen, image=first_frame(seen.image))).image
    scale = min(1.0, detail_px / max(width, height))
    small = scaled(image, max(1, round(width * scale)), max(1, round(height * scale)))
    small = small if small.bands >= COLOUR_BANDS else small.colourspace("srgb")
    mean = "#" + "".join(f"{round(small[band].avg()):02x}" for band in range(COLOUR_BANDS))
    pixels = (small if small.hasalpha() else small.addalpha()).write_to_memory()
    code = b64encode(thumbhash(small.width, small.height, bytes(pixels))).decode()
    return seen, {"thumbhash": code, "colour": mean, "width": width, "height": height}


OPERATION = Transform(
    name="placeholder",
    summary="Describe a picture in about 25 bytes (ThumbHash), to be shown while it loads.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=PlaceholderOptions,
    run=run,
)
