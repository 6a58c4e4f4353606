"""compress: make a picture's file smaller, in its own format unless another is asked for."""

from dataclasses import replace

from pydantic import Field

from batchmill.model.media import Family
from batchmill.operations.contract import Transform, Work
from batchmill.operations.images.convert import ConvertOptions, encoding


class CompressOptions(ConvertOptions):
    """Options of `compress`: those of `convert`, and `never_larger` whatever the format."""

    never_larger: bool = Field(
        True,
        description="Deliver the source, without its metadata and in its own format, when pixels "
        "stay the same and the result would not be smaller.",
    )


def run(work: Work, options: CompressOptions) -> Work:
    """Note for every picture that time may be spent on a smaller file."""
    wanted = replace(encoding(options), optimise=True)
    return replace(work, pictures=tuple(each.with_encoding(wanted) for each in work.pictures))


OPERATION = Transform(
    name="compress",
    summary="Make a picture's file smaller by better coding (trellis JPEG, optimised PNG).",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=CompressOptions,
    run=run,
)
