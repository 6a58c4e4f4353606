"""Small documents made by hand, so that each test says which bytes it means."""

import io
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchmill.model.limits import Limits
from batchmill.operations import registry
from batchmill.sandbox.messages import Job, JobStep, Report, StepProgress
from batchmill.sandbox.run_job import execute

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


@dataclass(frozen=True)
class Analysed:
    """What came of one file: the report, the facts, and the outputs by name."""

    report: Report
    folder: Path

    @property
    def document(self) -> dict[str, Any]:
        assert self.report.error is None, self.report.error
        told: dict[str, Any] = json.loads(json.dumps(self.report.data, allow_nan=False))
        return dict(told["document"])

    @property
    def error(self) -> tuple[str, str]:
        """Code and message."""
        assert self.report.error is not None, self.report.data
        return self.report.error.code, self.report.error.message

    def output(self, name: str) -> bytes:
        return (self.folder / "out" / name).read_bytes()

    @property
    def names(self) -> list[str]:
        return [output.name for output in self.report.outputs]


def analysed(
    folder: Path,
    content: bytes,
    *,
    name: str = "it",
    limits: Limits | None = None,
    on_progress: Callable[[StepProgress], None] = lambda _: None,
    tolerant: bool = False,
    **options: object,
) -> Analysed:
    """Put a file through `analyze` as a child would."""
    folder = folder / re.sub(r"\W", "_", name)
    folder.mkdir()
    (folder / "input").write_bytes(content)
    step = JobStep("analyze", registry.options("analyze", options).model_dump(mode="json"))
    job = Job(
        str(folder / "input"),
        str(folder),
        name,
        (step,),
        limits=limits or Limits(),
        tolerant=tolerant,
    )
    return Analysed(execute(job, on_progress), folder)


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


def sheet_data(rows: Iterable[Sequence[object]]) -> str:
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


def _entry(name: str, *, kind: int = 2, start: int = 0, size: int = 0, child: int = -1) -> bytes:
    text = (name + "\0").encode("utf-16-le")
    links = struct.pack("<BBiii", kind, 1, -1, -1, child)
    place = struct.pack("<III", start, size, 0)
    return text.ljust(64, b"\0") + struct.pack("<H", len(text)) + links + bytes(36) + place


def xls(rows: list[list[float | str]], *, password: bool = False) -> bytes:
    """Return a BIFF8 workbook of one sheet `Prices`; `password` only pretends to be encrypted."""
    start = _record(0x0809, struct.pack("<HHHHII", 0x0600, 5, 0, 0, 0, 0))
    lock = _record(0x002F, struct.pack("<HHH", 1, 1, 2)) if password else b""
    end = _record(0x000A, b"")
    name = b"\x06\x00Prices"
    place = len(start) + len(lock) + 4 + 6 + len(name) + len(end)
    listed = _record(0x0085, struct.pack("<IH", place, 0) + name)
    sheet = _record(0x0809, struct.pack("<HHHHII", 0x0600, 0x10, 0, 0, 0, 0))
    for r, row in enumerate(rows):
        for c, value in enumerate(row):
            sheet += _biff_cell(r, c, value)
    stream = (start + lock + listed + end + sheet + end).ljust(4096, b"\0")
    return _compound_file("Workbook", stream)


def _biff_cell(row: int, column: int, value: float | str) -> bytes:
    place = struct.pack("<HHH", row, column, 0)
    if isinstance(value, str):
        text = value.encode("utf-16-le")
        return _record(0x0204, place + struct.pack("<HB", len(value), 1) + text)
    return _record(0x0203, place + struct.pack("<d", value))


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def _compound_file(name: str, stream: bytes) -> bytes:
    """Return an OLE2 file of one stream, whose length is a multiple of 512 from 4,096 up."""
    sectors = -(-len(stream) // 512)
    header = struct.pack("<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3,
        0xFFFE, 9, 6, 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)  # fmt: skip
    chain = [0xFFFFFFFD, 0xFFFFFFFE, *range(3, sectors + 2), 0xFFFFFFFE]
    table = b"".join(each.to_bytes(4, "little") for each in chain).ljust(512, b"\xff")
    entries = _entry("Root Entry", kind=5, start=0xFFFFFFFE, child=1)
    entries += _entry(name, start=2, size=len(stream))
    body = table + entries.ljust(512, b"\0") + stream.ljust(sectors * 512, b"\0")
    return header + (0).to_bytes(4, "little").ljust(436, b"\xff") + body


def pdf(
    *pages: str,
    info: str = "",
    catalog: str = "",
    page: str = "",
    more: tuple[str, ...] = (),
    width_pt: int = 300,
) -> bytes:
    """Return a PDF of pages with these content streams; `/F1` is Helvetica.

    Objects 1 to 3 are catalog, page tree and font, 4 and 5 the first page and its content, and
    so on; `more` objects follow the last page. `info`, `catalog` and `page` are entries of those.
    """
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
            f"/Resources<</Font<</F1 3 0 R>>/XObject<</X1 6 0 R>>>>{page}"
            f"/Contents {5 + 2 * number} 0 R>>"
        )
        bodies.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    bodies += [*more, *([f"<<{info}>>"] if info else [])]
    return _assembled(bodies, about=f"/Info {len(bodies)} 0 R" if info else "")


def encrypted_pdf() -> bytes:
    """Return a PDF that opens with no password that anyone has."""
    lock = f"/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<{'41' * 32}>/U<{'42' * 32}>>>/ID[<00><00>]"
    plain = pdf(line_of_text("secret"))
    return plain.replace(b"/Root 1 0 R", b"/Root 1 0 R" + lock.encode())


def picture_page(width_pt: int = 300) -> str:
    """Return the content stream of a page filled by a picture."""
    return f"q {width_pt} 0 0 400 0 0 cm BI /W 2 /H 2 /CS /G /BPC 8 ID abcd EI Q"


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


def _assembled(bodies: list[str], *, about: str) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(bodies, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n".encode()
    for offset in offsets:
        out += f"{offset:010d} 00000 n \n".encode()
    out += (
        f"trailer<</Size {len(bodies) + 1}/Root 1 0 R{about}>>\nstartxref\n{start}\n%%EOF".encode()
    )
    return bytes(out)
