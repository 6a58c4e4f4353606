"""resize: make a picture fit a box, turn it, trim it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.images.box import Fit, Placed, place
from batchmill.operations.images.codec.color_values import COLOUR_PATTERN

if TYPE_CHECKING:
    from batchmill.operations.picture import Picture

Position = Literal[
    "centre", "top", "bottom", "left", "right",
    "top-left", "top-right", "bottom-left", "bottom-right",
    "attention", "entropy",
]  # fmt: skip


class ResizeOptions(Options):
    """Options of `resize`."""

    width: int | None = Field(
        None,
        ge=1,
        le=30_000,
        description="Width of the box in px; left out, only the height counts. "
        "With neither, the box is 1024×1024.",
    )
    height: int | None = Field(
        None,
        ge=1,
        le=30_000,
        description="Height of the box in px; left out, only the width counts.",
    )
    fit: Fit = Field(
        "inside",
        description="inside: whole picture within the box; outside: at least as large as the box; "
        "cover: fill the box and cut what stands out; contain: whole picture, padded to the box; "
        "fill: stretch to the box.",
    )
    position: Position = Field(
        "centre",
        description="Which part cover keeps, and where contain puts the picture. attention and "
        "entropy look for the interesting part (cover only).",
    )
    focus_x: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Point that cover keeps, 0 left to 1 right; overrides position.",
    )
    focus_y: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Point that cover keeps, 0 top to 1 bottom; overrides position.",
    )
    enlarge: bool = Field(False, description="Let a small picture grow to the box.")
    trim: bool = Field(False, description="First cut away a border of one colour.")
    trim_threshold: int = Field(
        10,
        ge=1,
        le=255,
        description="How far, of 255, a colour may be from the border's to be cut.",
    )
    rotate: Literal[0, 90, 180, 270] = Field(
        0, description="Turn clockwise by so many degrees, after the orientation was put right."
    )
    flip: Literal["none", "horizontal", "vertical", "both"] = Field(
        "none", description="Mirror the picture, after turning it."
    )
    background: str = Field(
        "#ffffff",
        pattern=COLOUR_PATTERN,
        description="Colour of padding: #rrggbb, or #rrggbbaa with alpha (00 is transparent).",
    )
    sharpen: float = Field(
        0.0, ge=0, le=10, description="Radius in px of sharpening after scaling; 0 is none."
    )
    kernel: Literal["lanczos3", "mitchell", "cubic", "linear", "nearest"] = Field(
        "lanczos3", description="Filter of the scaling; nearest keeps hard pixel edges."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_box(cls, given: Any) -> Any:  # noqa: ANN401 - pydantic hands in whatever was sent
        if isinstance(given, dict) and given.get("width") is None and given.get("height") is None:
            return {**given, "width": 1024, "height": 1024}
        return given


def run(work: Work, options: ResizeOptions) -> Work:
    """Resize every picture; the first picture of a file is decoded again at a smaller size."""
    pictures = tuple(_resized(each, options, work) for each in work.pictures)
    return replace(work, pictures=pictures)


def _resized(picture: "Picture", options: ResizeOptions, work: Work) -> "Picture":
    from batchmill.operations.images.codec import geometry

    if options.trim:
        picture = geometry.trimmed(picture, threshold=options.trim_threshold)
    if options.rotate or options.flip != "none":
        picture = geometry.turned(picture, options.rotate, options.flip)
    size = picture.size
    placed = place(size, (options.width, options.height), fit=options.fit, enlarge=options.enlarge)
    if placed.scaled != size:
        picture = _scaled(picture, placed, options, work)
    picture = _in_box(picture, placed, options)
    return geometry.sharpened(picture, options.sharpen) if options.sharpen else picture


def _scaled(picture: "Picture", placed: Placed, options: ResizeOptions, work: Work) -> "Picture":
    from batchmill.operations.images.codec import geometry

    return geometry.rescaled(
        picture, placed.scaled, work.limits, kernel=options.kernel, tolerant=work.tolerant
    )


def _in_box(picture: "Picture", placed: Placed, options: ResizeOptions) -> "Picture":
    from batchmill.operations.images.codec import geometry

    if placed.final == placed.scaled:
        return picture
    if options.fit == "contain":
        return geometry.padded(picture, placed.final, options.position, options.background)
    if options.focus_x is not None or options.focus_y is not None:
        focus = (_half(options.focus_x), _half(options.focus_y))
        return geometry.cut_around(picture, placed.final, focus)
    return geometry.cut(picture, placed.final, options.position)


def _half(share: float | None) -> float:
    return 0.5 if share is None else share


OPERATION = Transform(
    name="resize",
    summary="Make a picture fit a box; turn, mirror or trim it.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=ResizeOptions,
    run=run,
)
