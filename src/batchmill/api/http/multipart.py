"""Receives a multipart form: files stream to the disk, fields stay small, limits hold meanwhile.

Built on python-multipart's low-level parser, because its own file objects spool everything twice.
"""

import builtins
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import NoReturn

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from batchmill.errors.amounts import size
from batchmill.errors.request import (
    MalformedUploadError,
    TooLargeError,
    TooManyFilesError,
    over_size,
)
from batchmill.model.filenames import label
from batchmill.model.media import SNIFF_BYTES, ZIP, sniff
from batchmill.settings.fields import tier_variable
from batchmill.storage.disk import FreeSpace
from batchmill.storage.sink import Sink, Written

_HEADERS = 8
_HEADER_BYTES = 8_192
_BOUNDARY_BYTES = 70
_ENCODINGS = frozenset({b"", b"binary", b"8bit", b"7bit"})
_ESCAPES = (("%22", '"'), ("%0D", "\r"), ("%0A", "\n"))


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one form may hold. `zip_bytes` holds for files that begin like a ZIP archive.

    A file over its limit is left out and told of, unless there is no other. Boundaries, headers and
    fields may add `overhead_bytes` to `request_bytes`. The limits are those of the `tier`, but
    where a `setting` for files is named.
    """

    file_bytes: int
    zip_bytes: int
    request_bytes: int
    files: int
    fields: int = 100
    field_bytes: int = 2**20
    reserve_bytes: int = 0
    overhead_bytes: int = 0
    tier: str = "anonymous"
    setting: str | None = None


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file on our disk. `name` is a label, `head` are the first bytes, for `sniff`."""

    field: str
    name: str
    path: Path
    bytes: int
    sha256: str
    head: builtins.bytes


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file of which nothing is kept, because it is larger than `limit_bytes`."""

    field: str
    name: str
    bytes: int
    limit_bytes: int


AnyFile = ReceivedFile | RefusedFile
OnFields = Callable[[Mapping[str, list[str]]], None]


@dataclass(frozen=True, slots=True)
class Form:
    """A whole form, in the order in which it was sent."""

    fields: dict[str, list[str]]
    files: tuple[AnyFile, ...]


async def receive_form(
    stream: AsyncIterator[bytes],
    content_type: str,
    *,
    folder: Path,
    limits: FormLimits,
    on_bytes: Callable[[int], None] = lambda _total: None,
    before_files: OnFields = lambda _fields: None,
) -> Form:
    """Read a request's body to its end and return its fields and files.

    Files lie in `folder` under names of ours and are durable; whatever goes wrong, a client
    that leaves included, none is left there. File inputs that a browser sent empty are left out.
    `on_bytes` is told the bytes of the body so far, `before_files` the fields that came before the
    first file; what it raises ends the upload there.

    Raises:
        MalformedUploadError: the body is no well-formed form, or ends early.
        TooLargeError: a limit of the form was passed, reading stopped there; or every file is
            over its own.
        StorageFullError: the disk has no room above its reserve.
    """
    boundary = _boundary(content_type)
    sink = Sink(folder, reserve_bytes=limits.reserve_bytes)
    reader = _Reader(boundary, limits, sink, before_files)
    try:
        async for chunk in stream:
            reader.feed(chunk)
            on_bytes(reader.total_bytes)
            await sink.turn()
        return await reader.finish()
    except BaseException:
        await sink.discard()
        raise


def require_space(folder: Path, limits: FormLimits, *, expected_bytes: int) -> None:
    """Refuse a body by its Content-Length, before it is read.

    Raises:
        TooLargeError: it is over the limit of a request.
        StorageFullError: it does not fit on the disk.
    """
    if expected_bytes > limits.request_bytes + limits.overhead_bytes:
        _refuse_request(limits)
    FreeSpace(folder, limits.reserve_bytes).require(expected_bytes)


@dataclass(slots=True)
class _Part:
    """The part being read: a file when `filename` is set, else a field whose value is `kept`."""

    name: str
    filename: str | None
    bytes: int = 0
    kept: bytearray = field(default_factory=bytearray)
    begun: bool = False
    passed_bytes: int | None = None
    is_zip: bool = False

    @property
    def label(self) -> str:
        return label(self.filename or "")


class _Reader:
    """Turns the parser's events into fields and a sink's files."""

    def __init__(
        self, boundary: bytes, limits: FormLimits, sink: Sink, before_files: OnFields
    ) -> None:
        self.total_bytes = 0
        self._before_files = before_files
        self._limits = limits
        self._sink = sink
        self._headers = _Headers()
        self._part = _Part("", None)
        self._fields: list[_Part] = []
        self._files: list[_Part] = []
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._headers.on_name,
                "on_header_value": self._headers.on_value,
                "on_header_end": self._headers.on_end,
                "on_headers_finished": self._begin_part,
                "on_part_data": self._append,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=_HEADERS,
            max_header_size=_HEADER_BYTES,
        )

    def feed(self, chunk: bytes) -> None:
        self.total_bytes += len(chunk)
        if self.total_bytes > self._limits.request_bytes + self._limits.overhead_bytes:
            _refuse_request(self._limits)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            _refuse_form(str(error))

    async def finish(self) -> Form:
        if not self._ended:
            raise MalformedUploadError("The upload ended before its last part; send it again.")
        if self._files and all(part.passed_bytes for part in self._files):
            _refuse_file(self._files[0], self._limits)
        fields = self._read_fields()
        written = iter(await self._sink.finish())
        return Form(fields, tuple(_received(part, written) for part in self._files))

    def _read_fields(self) -> dict[str, list[str]]:
        fields: dict[str, list[str]] = {}
        for part in self._fields:
            fields.setdefault(part.name, []).append(_text(part))
        return fields

    def _begin_part(self) -> None:
        self._part = part = _Part(*self._headers.take())
        if part.filename is None:
            self._fields.append(part)
        elif part.filename:
            self._begin_file(part)
        if len(self._fields) > self._limits.fields:
            raise TooLargeError(f"The form has more than {self._limits.fields} fields.")

    def _begin_file(self, part: _Part) -> None:
        if len(self._files) == self._limits.files:
            raise TooManyFilesError(self._limits.files)
        if not self._files:
            self._before_files(self._read_fields())
        part.begun = True
        self._files.append(part)
        self._sink.begin()

    def _append(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.bytes += end - start
        if part.filename is None:
            part.kept += data[start:end]
            if part.bytes > self._limits.field_bytes:
                limit = self._limits.field_bytes
                raise over_size(f"The field {part.name!r}", limit, "BATCHMILL_JSON_BYTES")
            return
        if not part.begun:  # a nameless file counts once it has a byte
            self._begin_file(part)
        if len(part.kept) < SNIFF_BYTES:
            part.kept += data[start : min(end, start + SNIFF_BYTES - len(part.kept))]
        if part.passed_bytes is None and not self._passes_limit(part):
            self._sink.append(data[start:end])

    def _passes_limit(self, part: _Part) -> bool:
        if part.bytes <= min(self._limits.file_bytes, self._limits.zip_bytes):
            return False
        is_zip = sniff(bytes(part.kept)) is ZIP
        limit = self._limits.zip_bytes if is_zip else self._limits.file_bytes
        if part.bytes <= limit:
            return False
        part.passed_bytes, part.is_zip = limit, is_zip
        if self._limits.files == 1:
            _refuse_file(part, self._limits)
        self._sink.drop()
        return True

    def _end_part(self) -> None:
        if self._part.begun and self._part.passed_bytes is None:
            self._sink.end()

    def _end(self) -> None:
        self._ended = True


class _Headers:
    """Collects the headers of a part, which may arrive in any pieces."""

    def __init__(self) -> None:
        self._lines: dict[bytes, bytes] = {}
        self._name = b""
        self._value = b""

    def on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_end(self) -> None:
        name = self._name.lower()
        if name in self._lines:
            _refuse_form(f"a part has {name!r} twice")
        self._lines[name] = self._value
        self._name = self._value = b""

    def take(self) -> tuple[str, str | None]:
        """Return the name and the file name of the part, and get ready for the next one."""
        lines, self._lines = self._lines, {}
        encoding = lines.get(b"content-transfer-encoding", b"").strip().lower()
        if encoding not in _ENCODINGS:
            _refuse_form(f"Content-Transfer-Encoding {encoding!r}")
        return _disposition(lines.get(b"content-disposition", b""))


def _disposition(value: bytes) -> tuple[str, str | None]:
    """Read `form-data; name=…; filename=…`, in browsers' UTF-8 or as RFC 2231 writes it."""
    header = Message()
    header["content-disposition"] = _decode(value)
    if header.get_content_disposition() != "form-data":
        _refuse_form("a part is not form-data")
    parameters = dict(header.get_params([], header="content-disposition"))
    name, filename = parameters.get("name"), parameters.get("filename")  # `filename*` comes last
    if not isinstance(name, str):
        _refuse_form("a part has no name")
    if filename is None:
        return _unescape(name), None
    return _unescape(name), _unescape(collapse_rfc2231_value(filename, errors="replace"))


def _decode(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _unescape(value: str) -> str:
    """Undo what browsers escape in names (WHATWG HTML, multipart/form-data encoding)."""
    for escaped, character in _ESCAPES:
        value = value.replace(escaped, character)
    return value


def _received(part: _Part, written: Iterator[Written]) -> AnyFile:
    if part.passed_bytes is not None:
        return RefusedFile(part.name, part.label, part.bytes, part.passed_bytes)
    file, head = next(written), bytes(part.kept)
    return ReceivedFile(part.name, part.label, file.path, file.bytes, file.sha256, head)


def _text(part: _Part) -> str:
    if b"\0" in part.kept:
        raise MalformedUploadError(f"The field {part.name!r} holds U+0000, which no text has.")
    try:
        return part.kept.decode()
    except UnicodeDecodeError as error:
        raise MalformedUploadError(f"The field {part.name!r} is not UTF-8 text.") from error


def _boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)

    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 0 < len(boundary) <= _BOUNDARY_BYTES:
        raise MalformedUploadError(
            "Send files as multipart/form-data; its Content-Type names a boundary."
        )
    return boundary


def _refuse_form(detail: str) -> NoReturn:
    raise MalformedUploadError(
        "The upload is not a well-formed multipart form; a standard HTTP client makes one.",
        detail=detail,
    )


def _refuse_file(part: _Part, limits: FormLimits) -> NoReturn:
    own = tier_variable(limits.tier, "zip_bytes" if part.is_zip else "file_bytes")
    raise over_size(part.label, part.passed_bytes or 0, limits.setting or own)


def _refuse_request(limits: FormLimits) -> NoReturn:
    raise TooLargeError(
        f"The request is larger than the limit of {size(limits.request_bytes)}; send fewer files"
        f" at once, or raise {tier_variable(limits.tier, 'batch_bytes')}."
    )
