"""watermark: put a text or a picture over every picture."""

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.images.codec.color_values import COLOUR_PATTERN

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture

Place = Literal[
    "centre", "top", "bottom", "left", "right",
    "top-left", "top-right", "bottom-left", "bottom-right",
    "tile",
]  # fmt: skip
_DATA_URI = r"^data:image/[a-z+.-]+;base64,[A-Za-z0-9+/]+={0,2}$"


class WatermarkOptions(Options):
    """Options of `watermark`."""

    text: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Text in one line. Other scripts than Latin need fonts on the machine.",
    )
    image: str | None = Field(
        None,
        max_length=4_000_000,
        pattern=_DATA_URI,
        description="Picture as a data URI (data:image/png;base64,…), up to 4,000,000 characters.",
    )
    position: Place = Field(
        "bottom-right", description="Where it stands; tile repeats it over the whole picture."
    )
    width_pct: float = Field(
        30, ge=1, le=100, description="Width, in percent of the picture's width."
    )
    margin_pct: float = Field(
        2, ge=0, le=50, description="Distance from the edge, in percent of the shorter side."
    )
    opacity_pct: float = Field(50, ge=1, le=100, description="How far it covers what is under it.")
    colour: str = Field(
        "#ffffff", pattern=COLOUR_PATTERN, description="Colour of the text: #rrggbb."
    )
    angle: float = Field(0, ge=-180, le=180, description="Turn clockwise by so many degrees.")

    @model_validator(mode="after")
    def _one_mark(self) -> Self:
        if (self.text is None) == (self.image is None):
            raise ValueError("give either text or image")
        if self.image is not None:
            b64decode(self.image.partition(",")[2], validate=True)
        return self


def run(work: Work, options: WatermarkOptions) -> Work:
    """Put the mark over every picture, scaled to it.

    Raises:
        UnreadableFileError: the mark's own picture is damaged.
        ItemError: no font on this machine can write the text.
    """
    from batchmill.operations.images.codec.watermark_pixels import (
        Placing,
        mark_over,
        picture_mark,
        text_mark,
    )

    if options.image is not None:
        mark = picture_mark(b64decode(options.image.partition(",")[2]), work)
    else:
        mark = text_mark(options.text or "", options.colour)

    how = Placing(
        position=options.position,
        width_pct=options.width_pct,
        margin_pct=options.margin_pct,
        opacity_pct=options.opacity_pct,
        angle=options.angle,
    )

    def marked(picture: "Picture") -> "Picture":
        return mark_over(picture, mark, how)

    return replace(work, pictures=tuple(marked(each) for each in work.pictures))


OPERATION = Transform(
    name="watermark",
    summary="Put a text or a picture over a picture.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=WatermarkOptions,
    run=run,
)
