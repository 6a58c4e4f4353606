"""What `analyze` answers: one shape for every kind of document; absent facts are null or empty."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["pdf", "workbook", "table", "text"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is integer, decimal, currency, date, boolean, text or empty.

    `min` and `max` are numbers, ISO 8601 texts or texts in code point order; `exceptions` counts
    cells that are neither null nor of the type; `format` is how decimals or dates are written.
    """

    name: str
    type: str
    nulls: int
    distinct: int
    distinct_is_exact: bool
    min: Any
    max: Any
    examples: tuple[str, ...] = ()
    exceptions: int = 0
    format: str | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV, a sheet or a table on a PDF page (`page` is 1-based).

    `rows` counts the data rows, `preamble_rows` the titles above the header; `file` names the
    output that holds them all.
    """

    name: str
    rows: int
    width: int
    header: bool
    columns: tuple[Column, ...] = ()
    preamble_rows: int = 0
    sample: tuple[tuple[str, ...], ...] = ()
    page: int | None = None
    visible: bool = True
    merged_cells: int = 0
    file: str | None = None


@dataclass(frozen=True, slots=True)
class PageText:
    """One page, 1-based; sizes in points (1/72 inch), as shown."""

    number: int
    width_pt: float
    height_pt: float
    words: int
    characters: int
    images: int
    needs_ocr: bool = False


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """One bookmark; `level` starts at 1, `page` is null where the target is no page."""

    title: str
    level: int
    page: int | None


@dataclass(frozen=True, slots=True)
class TextCounts:
    """How much running text there is; null for what a kind does not have."""

    pages: int | None = None
    words: int | None = None
    characters: int | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """An ISO 639 code and how sure the detector is (0…1)."""

    code: str
    confidence: float


@dataclass(frozen=True, slots=True)
class DialectFound:
    """How a delimited file is written; `consistency` is the share of rows of equal width."""

    delimiter: str
    quote: str
    escape: str | None
    consistency: float


@dataclass(frozen=True, slots=True)
class Document:
    """Everything found out about one file."""

    kind: Kind
    mime: str
    bytes: int
    sha256: str
    encrypted: bool = False
    title: str | None = None
    author: str | None = None
    created_at: str | None = None
    modified_at: str | None = None
    language: Language | None = None
    text: TextCounts = field(default_factory=TextCounts)
    encoding: str | None = None
    dialect: DialectFound | None = None
    outline: tuple[OutlineEntry, ...] = ()
    pages: tuple[PageText, ...] = ()
    tables: tuple[Table, ...] = ()
    tables_truncated: bool = False
    sheets: tuple[Table, ...] = ()
    needs_ocr: bool = False
    limits_hit: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON that clients see."""
        return asdict(self)
