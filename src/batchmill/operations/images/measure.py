"""measure: note how large a picture is at this point of the pipeline."""

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work


class MeasureOptions(Options):
    """`measure` has no options."""


def run(work: Work, _: MeasureOptions) -> Work:
    """Add the upright size in px of the first picture to the data; pixels stay as they are."""
    if not work.pictures:
        return work
    width, height = work.pictures[0].size
    return work.with_data(measured_width=width, measured_height=height)


OPERATION = Transform(
    name="measure",
    summary="Note a picture's width and height in its data; as the first step, the source's.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=MeasureOptions,
    run=run,
)
