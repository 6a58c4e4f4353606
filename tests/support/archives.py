"""ZIP archives written byte by byte, so that they can lie where a library would not."""

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(body) + packer.flush()


@dataclass
class Entry:
    """One entry; `says` changes fields of the directory, `local` those of its own header."""

    name: bytes
    body: bytes = b"body"
    packed: bytes | None = None
    method: int = 0
    flags: int = 0
    extra: bytes = b""
    attributes: int = 0
    host: int = 0
    descriptor: bool = False
    says: dict[str, Any] = field(default_factory=dict)
    local: dict[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        packed = self.body if self.packed is None else self.packed
        return {
            "name": self.name,
            "flags": self.flags | (8 if self.descriptor else 0),
            "method": self.method,
            "crc32": zlib.crc32(self.body),
            "packed_bytes": len(packed),
            "bytes": len(self.body),
        }

    def header(self) -> bytes:
        zeros = {"crc32": 0, "packed_bytes": 0, "bytes": 0} if self.descriptor else {}
        it = self.fields() | zeros | self.local
        sizes = (it["crc32"], it["packed_bytes"], it["bytes"])
        head = struct.pack(
            "<4s5H3I2H",
            it.get("mark", b"PK\3\4"),
            20,
            it["flags"],
            it["method"],
            0,
            33,
            *sizes,
            len(it["name"]),
            0,
        )
        return head + it["name"]

    def content(self) -> bytes:
        packed = self.body if self.packed is None else self.packed
        if not self.descriptor:
            return packed
        it = self.fields()
        return packed + struct.pack(
            "<4s3I", b"PK\7\x08", it["crc32"], it["packed_bytes"], it["bytes"]
        )

    def record(self, offset: int) -> bytes:
        it = self.fields() | {"offset": offset} | self.says
        head = struct.pack(
            "<4s2B5H3I5H2I",
            b"PK\1\2",
            20,
            self.host,
            20,
            it["flags"],
            it["method"],
            0,
            33,
            it["crc32"],
            it["packed_bytes"],
            it["bytes"],
            len(it["name"]),
            len(self.extra),
            0,
            0,
            0,
            self.attributes,
            it["offset"],
        )
        return head + it["name"] + self.extra


def archive(*entries: Entry, prepended: bytes = b"", **end: int) -> bytes:
    """Return an archive of `entries`; `end` changes fields of the end record."""
    body, directory = bytearray(), bytearray()
    for entry in entries:
        directory += entry.record(len(body))
        body += entry.header() + entry.content()
    it = {
        "disk": 0,
        "directory_disk": 0,
        "records": len(entries),
        "bytes": len(directory),
        "offset": len(body),
    } | end
    tail = struct.pack(
        "<4s4H2IH",
        b"PK\5\6",
        it["disk"],
        it["directory_disk"],
        it["records"] & 0xFFFF,
        it["records"] & 0xFFFF,
        it["bytes"],
        it["offset"],
        0,
    )
    return prepended + bytes(body) + bytes(directory) + tail


def written(path: Path, *entries: Entry, prepended: bytes = b"", **end: int) -> Path:
    path.write_bytes(archive(*entries, prepended=prepended, **end))
    return path
