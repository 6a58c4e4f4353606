"""crop: cut out a part of a picture, by its place in px or by the shape it is to have."""

from dataclasses import replace
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from batchmill.errors.item import ItemError
from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.images.resize import Position

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture


class CropOptions(Options):
    """Options of `crop`."""

    left: int | None = Field(
        None, ge=0, le=65_000, description="Left edge of the part in px; left out, see position."
    )
    top: int | None = Field(
        None, ge=0, le=65_000, description="Top edge of the part in px; left out, see position."
    )
    width: int | None = Field(
        None, ge=1, le=65_000, description="Width of the part in px; left out, all there is."
    )
    height: int | None = Field(
        None, ge=1, le=65_000, description="Height of the part in px; left out, all there is."
    )
    aspect: str | None = Field(
        None,
        pattern=r"^[1-9]\d{0,3}:[1-9]\d{0,3}$",
        description="Shape, such as 16:9: the largest part of that shape. Excludes px.",
    )
    position: Position = Field(
        "centre",
        description="Which part, where left and top are left out; attention and entropy look "
        "for the interesting one.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        placed = (self.left, self.top, self.width, self.height)
        if self.aspect is not None and any(value is not None for value in placed):
            raise ValueError("aspect excludes left, top, width and height")
        return self


def run(work: Work, options: CropOptions) -> Work:
    """Crop every picture, in px of the upright picture.

    Raises:
        ItemError: the part lies outside the picture.
    """
    pictures = tuple(_cropped(each, options, work.source.name) for each in work.pictures)
    return replace(work, pictures=pictures)


def _cropped(picture: "Picture", options: CropOptions, name: str) -> "Picture":
    from batchmill.operations.images.codec import geometry

    size = _size(picture.size, options)
    if options.left is None and options.top is None:
        return geometry.cut(picture, size, options.position)
    corner = (options.left or 0, options.top or 0)
    if any(
        start + part > whole for start, part, whole in zip(corner, size, picture.size, strict=True)
    ):
        width, height = picture.size
        raise ItemError(
            f"{name} is {width:,}×{height:,} px; a part of {size[0]:,}×{size[1]:,} px "
            f"from {corner[0]:,}, {corner[1]:,} lies outside"
        )
    return geometry.extract(picture, corner, size)


def _size(whole: tuple[int, int], options: CropOptions) -> tuple[int, int]:
    """Return the part's width and height; without a corner it is cut to what there is."""
    width, height = whole
    if options.aspect is not None:
        across, down = (int(part) for part in options.aspect.split(":"))
        return (
            max(1, min(width, round(height * across / down))),
            max(1, min(height, round(width * down / across))),
        )
    left, top = options.left or 0, options.top or 0
    if options.left is None and options.top is None:
        return min(options.width or width, width), min(options.height or height, height)
    return options.width or max(1, width - left), options.height or max(1, height - top)


OPERATION = Transform(
    name="crop",
    summary="Cut out a part of a picture.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=CropOptions,
    run=run,
)
