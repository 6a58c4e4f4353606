"""Small documents made by hand, so that each test says which bytes it means."""

import io
import zipfile
from collections.abc import Mapping

_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-'
    'package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>'
    '<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.spreadsheetml.sheet.main+xml"/></Types>'
)
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELS = '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_STYLES = (
    f'<?xml version="1.0"?><styleSheet {_MAIN}><numFmts count="1"><numFmt numFmtId="164" '
    'formatCode="yyyy\\-mm\\-dd"/></numFmts><cellXfs count="2"><xf numFmtId="0"/>'
    '<xf numFmtId="164" applyNumberFormat="1"/></cellXfs></styleSheet>'
)


def zipped(members: Mapping[str, str | bytes], *, first: str = "") -> bytes:
    """Return a ZIP of `members`; `first` is a member stored as it is, before all others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body, zipfile.ZIP_STORED if name == first else None)
    return buffer.getvalue()


def xlsx(*sheets: str, more: Mapping[str, str | bytes] | None = None) -> bytes:
    """Return a workbook whose sheets are these `<sheetData>` bodies, made by `sheet_data`."""
    return zipped(xlsx_members(*sheets) | dict(more or {}))


def xlsx_members(*sheets: str) -> dict[str, str | bytes]:
    numbers = range(1, len(sheets) + 1)
    listed = "".join(f'<sheet name="Sheet{n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    links = "".join(
        f'<Relationship Id="rId{n}" Type="{_RELATION}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in numbers
    )
    styles = f'<Relationship Id="rId0" Type="{_RELATION}/styles" Target="styles.xml"/>'
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": _TYPES,
        "_rels/.rels": f'{_RELS}<Relationship Id="rId1" Type="{_RELATION}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<?xml version="1.0"?><workbook {_MAIN} xmlns:r="{_RELATION}">'
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"{_RELS}{styles}{links}</Relationships>",
        "xl/styles.xml": _STYLES,
    }
    for number, body in zip(numbers, sheets, strict=True):
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<?xml version="1.0"?><worksheet {_MAIN}><sheetData>{body}</sheetData></worksheet>'
        )
    return parts


def sheet_data(rows: list[list[object]]) -> str:
    """Return `<row>` elements: numbers as numbers, booleans as booleans, the rest inline text.

    A text that starts with `date:` and a number is a cell with a date format.
    """
    return "".join(
        f'<row r="{number}">{"".join(_cell(c, number, v) for c, v in enumerate(row))}</row>'
        for number, row in enumerate(rows, start=1)
    )


def _cell(column: int, row: int, value: object) -> str:
    place = f"{chr(65 + column)}{row}"
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{place}"><v>{value}</v></c>'
    text = str(value)
    if text.startswith("date:"):
        return f'<c r="{place}" s="1"><v>{text[5:]}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def ods(table: str, *, mime: str = "application/vnd.oasis.opendocument.spreadsheet") -> bytes:
    """Return an ODS of one table with these rows."""
    names = " ".join(
        f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"'
        for short in ("office", "table", "text", "meta")
    )
    content = (
        f'<?xml version="1.0"?><office:document-content {names}><office:body>'
        f'<office:spreadsheet><table:table table:name="Prices">{table}</table:table>'
        "</office:spreadsheet></office:body></office:document-content>"
    )
    manifest = (
        '<?xml version="1.0"?><manifest:manifest '
        'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    )
    parts = {"mimetype": mime, "META-INF/manifest.xml": manifest, "content.xml": content}
    return zipped(parts, first="mimetype")


def ole2(*names: str) -> bytes:
    """Return an OLE2 file whose directory lists streams of these names and holds nothing."""
    header = bytearray(512)
    header[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header[30:32] = (9).to_bytes(2, "little")
    header[44:48] = (1).to_bytes(4, "little")  # one sector of the allocation table
    header[48:52] = (1).to_bytes(4, "little")  # the directory starts in sector 1
    header[76:512] = b"\xff" * 436
    header[76:80] = (0).to_bytes(4, "little")
    sectors = -(-(len(names) + 1) // 4)
    chain = [0xFFFFFFFD, *range(2, sectors + 1), 0xFFFFFFFE]
    table = b"".join(each.to_bytes(4, "little") for each in chain).ljust(512, b"\xff")
    entries = b"".join(_entry(name) for name in ("Root Entry", *names))
    return bytes(header) + table + entries.ljust(sectors * 512, b"\0")


def _entry(name: str) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    return text.ljust(64, b"\0") + len(text).to_bytes(2, "little") + bytes(62)


def pdf(*pages: str, info: str = "", catalog: str = "", width_pt: int = 300) -> bytes:
    """Return a PDF of pages with these content streams; `/F1` is Helvetica."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    bodies = [
        f"<</Type/Catalog/Pages 2 0 R {catalog}>>",
        f"<</Type/Pages/Kids[{kids}]/Count {count}>>",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, content in enumerate(pages):
        bodies.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width_pt} 400]"
            f"/Resources<</Font<</F1 3 0 R>>>>/Contents {5 + 2 * number} 0 R>>"
        )
        bodies.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    if info:
        bodies.append(f"<<{info}>>")
    return _assembled(bodies, info=bool(info))


def line_of_text(text: str, *, x: int = 20, y: int = 360) -> str:
    """Return the content stream that shows one line."""
    return f"BT /F1 12 Tf {x} {y} Td ({text}) Tj ET"


def ruled_table(rows: list[list[str]], *, step_pt: int = 80) -> str:
    """Return the content stream of a table with a line around every cell."""
    parts = []
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            left, bottom = 20 + c * step_pt, 340 - r * 20
            parts.append(f"{left} {bottom} {step_pt} 20 re S")
            parts.append(line_of_text(text, x=left + 4, y=bottom + 5))
    return "\n".join(parts)


def _assembled(bodies: list[str], *, info: bool) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode()
    for offset in offsets:
        out += f"{offset:010d} 00000 n \n".encode()
    about = f"/Info {len(bodies)} 0 R" if info else ""
    out += (
        f"trailer<</Size {len(bodies) + 1}/Root 1 0 R{about}>>\nstartxref\n{start}\n%%EOF".encode()
    )
    return bytes(out)
