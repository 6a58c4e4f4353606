"""Bounds on one attempt: what a file may cost before it is refused or stopped."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Defaults are those of the anonymous tier in docs/reference/limits.md."""

    pixels: int = 100_000_000
    side_px: int = 30_000
    frames_pixels: int = 200_000_000
    pages: int = 500
    sheet_rows: int = 1_000_000
    sheet_columns: int = 16_384
    csv_line_bytes: int = 1_000_000
    unpacked_bytes: int = 200_000_000
    archive_ratio: int = 200
    memory_bytes: int = 2 * 2**30
    cpu_s: float = 60.0
    wall_s: float = 120.0
