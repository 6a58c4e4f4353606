"""The first bytes of an archive's entry, which say what kind of file it is."""

import os
import zlib

from batchmill.archives.index import DEFLATED, STORED
from batchmill.model.item import Input
from batchmill.model.media import SNIFF_BYTES


def read_head(file: int, source: Input) -> bytes | None:
    """Return up to `SNIFF_BYTES` of an entry of an open archive; None: only unpacking tells."""
    entry = source.entry
    if entry is None or entry.method not in (STORED, DEFLATED):
        return None
    packed = os.pread(file, min(entry.compressed_bytes, 2 * SNIFF_BYTES), entry.offset)
    if entry.method == STORED:
        return packed[:SNIFF_BYTES]
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, SNIFF_BYTES)
    except zlib.error:
        return None
