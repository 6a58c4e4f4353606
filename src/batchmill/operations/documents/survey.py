"""One pass over a text file's bytes: checksum, encoding, and that no line is endless."""

import codecs
import hashlib
from dataclasses import dataclass
from pathlib import Path

from batchmill.errors.item import DocumentTooLargeError, UnreadableFileError
from batchmill.model.media import bom_encoding
from batchmill.operations.documents.findings import Findings

_BLOCK_BYTES = 2**18
_SAMPLE_BYTES = 2**16
_FALLBACK = "cp1252"
_RARE = 10  # one bad byte in ten marks of UTF-8 is damage, not another encoding


@dataclass(frozen=True, slots=True)
class Survey:
    """What the bytes of a text file tell."""

    sha256: str
    encoding: str


class LineMeter:
    """Finds lines longer than `limit_bytes` in blocks, each no longer than that itself."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._open = 0

    def exceeds(self, block: bytes) -> bool:
        """Take in the next block; tell whether a line is longer than allowed."""
        first = min((at for at in (block.find(b"\n"), block.find(b"\r")) if at >= 0), default=-1)
        if first < 0:
            self._open += len(block)
            return self._open > self._limit
        longest = self._open + first
        self._open = len(block) - max(block.rfind(b"\n"), block.rfind(b"\r")) - 1
        return longest > self._limit


def survey(findings: Findings, share: float, *, line_bytes: int | None = None) -> Survey:
    """Read the file once and say how it is encoded: by mark, as UTF-8, or as chardet thinks.

    Reports progress up to `share`, and warns where characters cannot be decoded.

    Raises:
        UnreadableFileError: it holds NUL bytes and no mark that explains them.
        DocumentTooLargeError: a line is longer than `line_bytes`.
    """
    source = findings.work.source
    digest, meter = hashlib.sha256(), LineMeter(line_bytes or source.bytes)
    decoder = codecs.getincrementaldecoder("utf-8")()
    bad_at: int | None = None
    with source.path.open("rb") as file:
        marked = bom_encoding(file.read(4))
        file.seek(0)
        while block := file.read(min(_BLOCK_BYTES, line_bytes or _BLOCK_BYTES)):
            digest.update(block)
            if marked is None and b"\x00" in block:
                raise UnreadableFileError(source.name, "it holds binary data, not text")
            if meter.exceeds(block):
                raise DocumentTooLargeError(
                    findings.name, f"a line of more than {line_bytes:,} bytes"
                )
            end = file.tell() == source.bytes
            if bad_at is None and not _decodes(decoder, block, end=end):
                bad_at = file.tell() - len(block)
            findings.work.report_progress(share * file.tell() / source.bytes)
    encoding = marked or ("utf-8" if bad_at is None else _guessed(source.path, bad_at))
    if not (bad_at is None and encoding == "utf-8") and not _all_decodes(source.path, encoding):
        findings.warn(f"some characters are not {encoding} and were replaced")
    return Survey(digest.hexdigest(), encoding)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, *, end: bool = False) -> bool:
    try:
        decoder.decode(block, end)
    except UnicodeDecodeError:
        return False
    return True


def _guessed(path: Path, bad_at: int) -> str:
    """Ask chardet about the file's start and the place where it is no UTF-8."""
    import chardet

    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
        if bad_at >= _SAMPLE_BYTES:
            file.seek(bad_at)
            sample += file.read(_BLOCK_BYTES)
    text = sample.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if sum(not char.isascii() for char in text) - bad > _RARE * bad:
        return "utf-8"
    found = chardet.detect(sample, prefer_superset=True)["encoding"] or _FALLBACK
    try:
        return codecs.lookup(found).name
    except LookupError:
        return _FALLBACK


def _all_decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            if not _decodes(decoder, block):
                return False
    return _decodes(decoder, b"", end=True)
