"""Strips GIF: drops comments and application extensions that do not loop it."""

from collections.abc import Iterator

from batchmill.operations.images.codec.strip.policy import MalformedError, Policy

_END, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C
_COMMENT, _APPLICATION = 0xFE, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")


def stripped(content: bytes, _policy: Policy) -> bytes:
    """Return a GIF file with only the metadata that the policy keeps."""
    kept = []
    for label, whole in blocks(content):
        looping = whole[3:14] in _LOOPS
        if label == _COMMENT or (label == _APPLICATION and not looping):
            continue
        kept.append(whole)
    return b"".join(kept)


def blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the extension label (0 for others) and bytes of every block, the trailer included.

    Raises:
        MalformedError: the file ends before its trailer.
    """
    try:
        at = 13 + _table(content[10])
        yield 0, content[:at]
        while content[at] != _END:
            start, label = at, 0
            if content[at] == _EXTENSION:
                label = content[at + 1]
                at = _data_end(content, at + 2)
            elif content[at] == _IMAGE:
                at = _data_end(content, at + 11 + _table(content[at + 9]))
            else:
                raise MalformedError("an unknown block")
            yield label, content[start:at]
        yield 0, content[at : at + 1]
    except IndexError as error:
        raise MalformedError("it ends before its trailer") from error


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _data_end(content: bytes, at: int) -> int:
    """Return where the sub-blocks that start at `at` end."""
    while size := content[at]:
        at += size + 1
    return at + 1
