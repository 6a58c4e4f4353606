"""A description as XMP packet and IPTC block, as picture programs read them.

XMP: ISO 16684-1 with the properties of Dublin Core and the IPTC Core schema. IPTC: IIM 4.2 inside
a Photoshop resource, which is where JPEG has it.
"""

import struct
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from batchmill.operations.picture import Packets

_XMP: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">
{properties}
</rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
_UTF_8: Final = b"\x1b%G"
_RESOURCE: Final = b"Photoshop 3.0\x008BIM\x04\x04\x00\x00"
_TITLE, _KEYWORD, _CAPTION = 5, 25, 120
_MOST_BYTES: Final = {_TITLE: 64, _KEYWORD: 64, _CAPTION: 2_000}


def packets(described: Mapping[str, Any]) -> Packets:
    """Return both blocks of a description, as `describe` leaves it in the data."""
    return Packets(xmp=_xmp(described).encode(), iptc=_iptc(described))


def _xmp(described: Mapping[str, Any]) -> str:
    language = str(described.get("language") or "x-default")
    categories = [described["category"]] if described.get("category") else []
    parts = (
        _in_language("dc:title", described["title"], language),
        _in_language("dc:description", described["description"], language),
        _bag("dc:subject", described["keywords"]),
        _bag("photoshop:SupplementalCategories", categories),
        _in_language("Iptc4xmpCore:AltTextAccessibility", described["alt_text"], language),
    )
    return _XMP.format(properties="\n".join(part for part in parts if part))


def _in_language(name: str, text: str, language: str) -> str:
    """Return a text as the default, as XMP wants one, and in its language."""
    lines = dict.fromkeys(("x-default", language))
    alternatives = "".join(
        f'<rdf:li xml:lang="{each}">{escape(text, quote=False)}</rdf:li>' for each in lines
    )
    return f"<{name}><rdf:Alt>{alternatives}</rdf:Alt></{name}>"


def _bag(name: str, texts: Iterable[str]) -> str:
    lines = "".join(f"<rdf:li>{escape(text, quote=False)}</rdf:li>" for text in texts)
    return f"<{name}><rdf:Bag>{lines}</rdf:Bag></{name}>" if lines else ""


def _iptc(described: Mapping[str, Any]) -> bytes:
    fields = (
        (_TITLE, described["title"]),
        *((_KEYWORD, word) for word in described["keywords"]),
        (_CAPTION, described["description"]),
    )
    block = _set(1, 90, _UTF_8) + _set(2, 0, b"\x00\x04")
    for number, text in fields:
        block += _set(2, number, _cut(text, _MOST_BYTES[number]))
    return _RESOURCE + struct.pack(">I", len(block)) + block + b"\x00" * (len(block) % 2)


def _set(record: int, number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


def _cut(text: str, most_bytes: int) -> bytes:
    """Return UTF-8 that is not cut inside a character."""
    return text.encode()[:most_bytes].decode(errors="ignore").encode()
