"""write_description: put what `describe` has found into the delivered file's own metadata."""

from dataclasses import replace

from batchmill.model.media import Family
from batchmill.operations.contract import Options, Transform, Work
from batchmill.operations.vision.packets import packets

_FIELDS = ("title", "description", "keywords", "alt_text")


class WriteDescriptionOptions(Options):
    """`write_description` has no options."""


def run(work: Work, _: WriteDescriptionOptions) -> Work:
    """Note the blocks for every picture; they are written when it is encoded, after the last step.

    Nothing else of the source's metadata is kept but what `keep` of another step says.
    """
    if not all(work.data.get(field) for field in _FIELDS):
        return work.with_warning("there is no description to write; `describe` comes first")
    found = packets(work.data)
    pictures = (
        replace(each, encoding=replace(each.encoding, packets=found)) for each in work.pictures
    )
    return replace(work, pictures=tuple(pictures))


OPERATION = Transform(
    name="write_description",
    summary="Write what describe has found into the file: XMP, in JPEG IPTC too; GIF has no room.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=WriteDescriptionOptions,
    run=run,
)
