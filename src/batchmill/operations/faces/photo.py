"""A photo that is searched small and cut large.

Only the child imports this module.
"""

from dataclasses import dataclass

import pyvips

from batchmill.model.limits import Limits
from batchmill.model.media import JPEG
from batchmill.operations.faces.centerface import Pixels
from batchmill.operations.faces.search import Scene
from batchmill.operations.images.codec import geometry
from batchmill.operations.images.codec.color import to_srgb
from batchmill.operations.images.codec.color_values import COLOUR_BANDS
from batchmill.operations.images.codec.decode import shrunk
from batchmill.operations.picture import Picture

JPEG_SHRINKS = (8, 4, 2)


@dataclass(frozen=True, slots=True)
class Photo:
    """A still picture, ready to be searched and cut.

    `view` is upright, in memory, and no larger than the search wants. `picture` stands for the
    file while its `source` is set; otherwise it is upright and in memory too.
    """

    picture: Picture
    view: pyvips.Image
    limits: Limits
    tolerant: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Full width and height, upright."""
        return self.picture.size

    @property
    def view_scale(self) -> tuple[float, float]:
        """Pixels of the view for each full pixel, across and down."""
        return self.view.width / self.size[0], self.view.height / self.size[1]

    def scene(self) -> Scene:
        """Return what the search needs."""
        return Scene(self.size, max(self.view.width, self.view.height), self.look)

    def look(self, longer_px: int) -> Pixels:
        """Return the view with its longer side at most `longer_px`: height × width × 3, sRGB."""
        scale = min(1.0, longer_px / max(self.view.width, self.view.height))
        return rgb(self.view.resize(scale) if scale < 1 else self.view)


def open_photo(
    picture: Picture, limits: Limits, *, tolerant: bool, least_px: int, most_px: int
) -> Photo:
    """Return the photo with a view to search, `least_px` or more on its longer side.

    The view of a JPEG is what its coarsest sufficient shrink-on-load gives. Any other photo is
    decoded once, in full, into memory; its view is at most `most_px`.

    Raises: as `decode.open_picture`.
    """
    longer_px = max(picture.size)
    step = next((step for step in JPEG_SHRINKS if longer_px // step >= least_px), 1)
    if picture.source is not None and picture.source.media is JPEG and step > 1:
        small = to_srgb(shrunk(picture, step, limits, tolerant=tolerant))
        view = geometry.upright(picture.with_image(small)).image.copy_memory()
        return Photo(picture, view, limits, tolerant)
    whole = geometry.upright(_first_frame(picture))
    picture = whole.with_image(whole.image.copy_memory())
    scale = min(1.0, most_px / longer_px)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    view = geometry.scaled(picture.image, width, height).copy_memory()
    return Photo(picture, view, limits, tolerant)


def rgb(image: pyvips.Image) -> Pixels:
    """Return height × width × 3 values of sRGB; what is transparent becomes white."""
    image = image.flatten(background=255) if image.hasalpha() else image
    image = image.colourspace("srgb") if image.bands < COLOUR_BANDS else image
    pixels: Pixels = image.numpy()
    return pixels


def _first_frame(picture: Picture) -> Picture:
    """Take an animation as its first frame."""
    image, height = picture.image, picture.image.get_page_height()
    if height == image.height:
        return picture
    frame = image.crop(0, 0, image.width, height).copy()
    frame.remove("page-height")
    return picture.with_image(frame)
