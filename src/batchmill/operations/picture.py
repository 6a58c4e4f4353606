"""A picture between two steps: lazy pixels, and how they are to be written."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from batchmill.operations.base import Source

Format = Literal["jpeg", "png", "webp", "avif", "tiff", "gif"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a picture is written once the last step is done; `format` None keeps the source's."""

    format: Format | Literal["auto"] | None = None
    quality: int | None = None
    effort: int | None = None
    lossless: bool = False
    progressive: bool = True
    keep: Literal["none", "icc", "exif", "xmp", "all"] = "none"
    max_bytes: int | None = None
    never_larger: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Lazy pixels (a pyvips image: uchar sRGB or grey, with or without alpha).

    `source` is set while no pixel was touched, so that a resize may decode again with
    shrink-on-load; `orientation` (EXIF 1…8) is still to be applied. `suffix` is appended to
    the output's stem when a step makes several pictures of one.
    """

    image: Any
    orientation: int = 1
    source: Source | None = None
    encoding: Encoding = field(default_factory=Encoding)
    suffix: str = ""

    def with_encoding(self, encoding: Encoding) -> "Picture":
        """Return the same pixels, to be written as `encoding` says."""
        return replace(self, encoding=encoding)
