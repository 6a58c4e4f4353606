"""A picture between two steps: lazy pixels, and how they are to be written."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from batchmill.model.media import MediaType

Format = Literal["jpeg", "png", "webp", "avif", "tiff", "gif"]
Keep = Literal["none", "icc", "exif", "xmp", "all"]
Chroma = Literal["auto", "420", "444"]


@dataclass(frozen=True, slots=True)
class Source:
    """The file that the attempt started from, as it lies in the child's folder."""

    path: Path
    name: str
    media: MediaType
    bytes: int


@dataclass(frozen=True, slots=True)
class Packets:
    """Blocks of metadata that are written into a file, in place of the source's own."""

    xmp: bytes
    iptc: bytes


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a picture is written once the last step is done.

    `format` None keeps the source's; `quality` and `effort` None take the format's default.
    `never_larger` delivers the source when no pixel was touched and encoding it again in the
    same format, or with `optimise` in any, would not make it smaller.
    """

    format: Format | Literal["auto"] | None = None
    quality: int | None = None
    effort: int | None = None
    lossless: bool = False
    progressive: bool = True
    chroma: Chroma = "auto"
    optimise: bool = False
    animated: bool = True
    background: str = "#ffffff"
    keep: Keep = "none"
    max_bytes: int | None = None
    never_larger: bool = True
    packets: Packets | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """Lazy pixels (a pyvips image: uchar sRGB or grey, with or without alpha).

    Pixels can be read once, from top to bottom: an operation that has to look at them first
    calls `image.copy_memory()` and goes on with the copy. Frames of an animation stand one
    below the other (libvips' `page-height`).

    `source` is set while no pixel was touched, so that a resize may decode again with
    shrink-on-load, and with it `raw`, the pixels before they were converted to sRGB;
    `orientation` (EXIF 1…8) is still to be applied. `suffix` is appended to the output's stem
    when a step makes several pictures of one.
    """

    image: Any
    orientation: int = 1
    source: Source | None = None
    raw: Any = None
    encoding: Encoding = field(default_factory=Encoding)
    suffix: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of one frame as a person sees it, once upright."""
        width, height = self.image.width, self.image.get_page_height()
        return (height, width) if self.orientation >= FIRST_SIDEWAYS else (width, height)

    def with_image(self, image: Any) -> "Picture":  # noqa: ANN401 - a pyvips image
        """Return a picture of changed pixels, which can't be decoded from the source again."""
        return replace(self, image=image, source=None, raw=None)

    def with_encoding(self, encoding: Encoding) -> "Picture":
        """Return the same pixels, to be written as `encoding` says; packets stay."""
        return replace(self, encoding=replace(encoding, packets=self.encoding.packets))


FIRST_SIDEWAYS = 5
"""From this EXIF orientation on, stored width and height change places."""
