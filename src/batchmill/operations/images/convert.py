"""convert: choose the format and quality in which a picture is written."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.images.codec.color_values import COLOUR_PATTERN

if TYPE_CHECKING:
    from batchmill.operations.picture import Encoding

LOSSLESS_ABLE = frozenset({"webp", "avif", "png", "tiff", "gif", "auto", None})
LOSSY_ABLE = frozenset({"jpeg", "webp", "avif", "png", "auto", None})


class ConvertOptions(Options):
    """Options of `convert`."""

    format: Literal["jpeg", "png", "webp", "avif", "tiff", "gif", "auto"] | None = Field(
        None,
        description="Format to write; auto takes the smallest that shows the picture rightly; "
        "left out, the source's (JPEG for HEIC and camera RAW).",
    )
    quality: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Quality, 1 to 100; left out 80, AVIF 50. PNG and TIFF stay lossless unless a "
        "quality is given (PNG: palette, TIFF: JPEG inside); GIF knows none.",
    )
    effort: int | None = Field(
        None,
        ge=0,
        le=9,
        description="How much time to spend on a smaller file, 0 to 9; left out 4 (PNG 6, GIF 7).",
    )
    lossless: bool = Field(
        False, description="Keep every pixel exactly (webp, avif; png, tiff and gif always do)."
    )
    progressive: bool = Field(True, description="JPEG that shows coarsely first.")
    chroma: Literal["auto", "420", "444"] = Field(
        "auto", description="Colour resolution of JPEG and AVIF: 420 halves it, 444 keeps it."
    )
    max_bytes: int | None = Field(
        None,
        ge=200,
        le=2**31,
        description="Largest output in bytes: the quality is lowered until the file fits.",
    )
    keep: Literal["none", "icc", "exif", "xmp", "all"] = Field(
        "none",
        description="Metadata to keep; TIFF holds no EXIF. Colours are always sRGB. The place "
        "where it was taken (GPS) is kept only by all.",
    )
    animated: bool = Field(
        True, description="Keep all frames where the format can (webp, gif); else the first."
    )
    never_larger: bool = Field(
        True,
        description="Deliver the source, without its metadata, when format and pixels stay the "
        "same and the result would not be smaller. One in another format is told of by a warning.",
    )
    background: str = Field(
        "#ffffff", pattern=COLOUR_PATTERN, description="Colour behind transparency in JPEG."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.lossless and self.format not in LOSSLESS_ABLE:
            raise ValueError(f"lossless is not possible in {self.format}")
        if self.max_bytes and self.format not in LOSSY_ABLE:
            raise ValueError(f"max_bytes is not possible in {self.format}, which has no quality")
        if self.max_bytes and self.lossless:
            raise ValueError("max_bytes and lossless exclude each other")
        return self


def encoding(options: ConvertOptions) -> "Encoding":
    """Return what the options ask for, as the encoder reads it."""
    from batchmill.operations.picture import Encoding

    return Encoding(**options.model_dump())


def run(work: Work, options: ConvertOptions) -> Work:
    """Note the format for every picture; encoding happens once, after the last step."""
    wanted = encoding(options)
    return replace(work, pictures=tuple(each.with_encoding(wanted) for each in work.pictures))


OPERATION = Transform(
    name="convert",
    summary="Write a picture in another format or quality.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=ConvertOptions,
    run=run,
)
