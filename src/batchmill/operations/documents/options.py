"""What a caller may choose about an analysis."""

from typing import Literal

from pydantic import Field

from batchmill.operations.contract import Options

RowFormat = Literal["none", "csv", "json"]


class AnalyzeOptions(Options):
    """Options of `analyze`."""

    text: bool = Field(True, description="Deliver the full text of a PDF as a UTF-8 file.")
    rows: RowFormat = Field(
        "csv",
        description="Deliver the rows of sheets and PDF tables in this format; cells that a "
        "spreadsheet would run as formulas are neutralised in CSV.",
    )
    copy_delimited: bool = Field(
        False,
        description="Deliver a CSV or TSV input again in the format of `rows`: UTF-8, commas, "
        "no formulas.",
    )
    thumbnail: Literal["none", "webp", "png"] = Field(
        "webp", description="Deliver a picture of a PDF's first page in this format."
    )
    thumbnail_px: int = Field(
        320, ge=32, le=2048, description="Longest side of the thumbnail in pixels."
    )
    language: bool = Field(True, description="Detect the language of the text.")
    sample_rows: int = Field(
        5, ge=0, le=50, description="How many rows of each table to show in the data."
    )
    table_pages: int = Field(
        30, ge=0, le=500, description="Look for tables on at most this many ruled pages of a PDF."
    )
    table_seconds: float = Field(
        20.0, ge=0, le=600, description="Stop looking for tables of a PDF after this many seconds."
    )
