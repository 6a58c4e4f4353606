"""Every option of every operation does something: another value makes another result of some file.

`CASES` is checked against the operations: an option that is added without a case fails.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image

from batchmill.operations import registry
from support import portraits
from support.documents import line_of_text, pdf, ruled_table
from support.pictures import outputs, pil, run, scene

GREY, GPS = [128, 128, 128], 0x8825
TEXT = "This is a plain English sentence about the weather and the price of bread in the city."


def photo(path: Path) -> Path:
    """Write a JPEG with EXIF, a position and XMP."""
    exif = Image.Exif()
    exif[0x010F] = "A Camera Maker"
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 0.0)})
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><a>b</a></x:xmpmeta>"
    pil(scene(200, 150)).save(path, "JPEG", exif=exif, xmp=xmp, quality=95)
    return path


def small_photo(path: Path) -> Path:
    """Write a JPEG that no encoder makes smaller."""
    scene(200, 150).jpegsave(path, Q=5, optimize_coding=True)
    return path


def clear(path: Path) -> Path:
    """Write a PNG that is half transparent."""
    alpha = pyvips.Image.xyz(120, 90)[0] > 60
    scene(120, 90).bandjoin(alpha.ifthenelse(255, 0).cast("uchar")).pngsave(path)
    return path


def framed(path: Path) -> Path:
    """Write a PNG with a border that is almost of one colour."""
    border = (scene(120, 90) * 0 + GREY).cast("uchar")
    almost = border.insert((scene(100, 70) * 0 + [158, 158, 158]).cast("uchar"), 10, 10)
    almost.insert(scene(60, 40), 30, 25).copy(interpretation="srgb").pngsave(path)
    return path


def moving(path: Path) -> Path:
    """Write a GIF of three frames."""
    frames = [pil(scene(60, 40, seed=seed)) for seed in (1, 2, 3)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return path


def people(path: Path) -> Path:
    """Write a photo of two faces, one of them near the edge, the other tilted."""
    heads = (portraits.Head(420, 200, 90), portraits.Head(75, 330, 60))
    portraits.turned(portraits.photo(640, 480, *heads), 8).jpegsave(path, Q=92)
    return path


def nobody_there(path: Path) -> Path:
    """Write a photo without a face."""
    portraits.photo(400, 300).jpegsave(path, Q=92)
    return path


def report_pdf(path: Path) -> Path:
    """Write a PDF with text and a ruled table."""
    path.write_bytes(
        pdf(line_of_text(TEXT, y=380) + ruled_table([["item", "price"], ["bread", "1.20"]]))
    )
    return path


def prices(path: Path) -> Path:
    """Write a CSV of eight rows."""
    path.write_text("name;price\n" + "".join(f"bread {n};{n},50\n" for n in range(8)))
    return path


def mark(seed: int) -> str:
    file = io.BytesIO()
    pil(scene(20, 10, seed=seed)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@dataclass(frozen=True)
class Case:
    """A file, options with which one option matters, and another value of that option."""

    file: Callable[[Path], Path]
    other: object
    base: Mapping[str, Any]


def case(file: Callable[[Path], Path], other: object, **base: Any) -> Case:
    return Case(file, other, base)


ENCODING = {
    "format": case(photo, "png"),
    "quality": case(photo, 30, format="webp"),
    "effort": case(photo, 0, format="webp"),
    "lossless": case(photo, True, format="webp"),
    "progressive": case(photo, False, format="jpeg"),
    "chroma": case(photo, "444", format="jpeg", quality=70),
    "max_bytes": case(photo, 2_000, format="jpeg"),
    "keep": case(photo, "all", format="webp"),
    "animated": case(moving, False, format="webp"),
    "never_larger": case(small_photo, False, quality=90),
    "background": case(clear, "#ff0000", format="jpeg"),
}
CASES: dict[str, dict[str, Case]] = {
    "analyze": {
        "text": case(report_pdf, False),
        "rows": case(report_pdf, "json"),
        "copy_delimited": case(prices, True),
        "thumbnail": case(report_pdf, "png"),
        "thumbnail_px": case(report_pdf, 64),
        "language": case(report_pdf, False),
        "sample_rows": case(prices, 2),
        "table_pages": case(report_pdf, 0),
        "table_seconds": case(report_pdf, 0),
    },
    "blur_faces": {
        "method": case(people, "pixelate"),
        "shape": case(people, "box"),
        "blocks": case(people, 12),
        "colour": case(people, "#ff0000", method="fill"),
        "padding_pct": case(people, 90),
        "min_score": case(people, 0.95),
        "search_px": case(people, 320),
    },
    "compress": ENCODING,
    "convert": ENCODING,
    "crop": {
        "left": case(photo, 20),
        "top": case(photo, 20),
        "width": case(photo, 100),
        "height": case(photo, 100),
        "aspect": case(photo, "1:1"),
        "position": case(photo, "left", aspect="1:1"),
    },
    "face_crop": {
        "faces": case(people, "all"),
        "count": case(people, 2, faces="largest"),
        "width": case(people, 200),
        "height": case(people, 200),
        "framing": case(people, "id"),
        "padding_pct": case(people, 60),
        "level_eyes": case(people, True),
        "head_pct": case(people, 50, framing="id"),
        "eye_line_pct": case(people, 45, framing="id"),
        "border": case(people, "extend", padding_pct=200),
        "detect_px": case(people, 160, faces="all"),
        "min_score": case(people, 0.95, faces="all"),
        "no_face": case(nobody_there, "fail"),
    },
    "glance": {},
    "measure": {},
    "placeholder": {"detail_px": case(photo, 8)},
    "resize": {
        "width": case(photo, 40, height=100),
        "height": case(photo, 40, width=100),
        "fit": case(photo, "fill", width=50, height=50),
        "position": case(photo, "left", width=50, height=50, fit="cover"),
        "focus_x": case(photo, 0.0, width=50, height=50, fit="cover"),
        "focus_y": case(photo, 0.0, width=100, height=20, fit="cover"),
        "enlarge": case(photo, True, width=400),
        "trim": case(framed, True),
        "trim_threshold": case(framed, 60, trim=True),
        "rotate": case(photo, 90),
        "flip": case(photo, "horizontal"),
        "background": case(photo, "#ff0000", width=50, height=50, fit="contain"),
        "sharpen": case(photo, 2.0, width=50),
        "kernel": case(photo, "nearest", width=50),
    },
    "watermark": {
        "text": case(photo, "other", text="mine"),
        "image": case(photo, mark(1), image=mark(2)),
        "position": case(photo, "top-left", text="mine"),
        "width_pct": case(photo, 80, text="mine"),
        "margin_pct": case(photo, 20, text="mine"),
        "opacity_pct": case(photo, 100, text="mine"),
        "colour": case(photo, "#ff0000", text="mine"),
        "angle": case(photo, 45, text="mine"),
    },
    "write_description": {},
}
ELSEWHERE = {
    "describe": {
        "provider": "vision/test_criteria.py::test_without_a_key_the_provider_local_says_only",
        "language": "vision/test_criteria.py::test_options_reach_the_question",
        "keywords": "vision/test_criteria.py::test_options_reach_the_question",
        "detail": "vision/test_criteria.py::test_options_reach_the_question",
        "context": "vision/test_criteria.py::test_options_reach_the_question",
        "budget_usd": "vision/test_criteria.py::test_parallel_questions_stay_within_the_budget",
        "send": "vision/test_server.py::test_the_option_data_keeps_the_picture_inside",
    },
}
"""Options of what asks a server, and the tests that have one."""


def test_every_option_of_every_operation_has_a_case() -> None:
    declared = {name: set(registry.get(name).options.model_fields) for name in registry.BUILTIN}

    assert {name: set(cases) for name, cases in (CASES | ELSEWHERE).items()} == declared


@pytest.mark.parametrize(
    "test", sorted({test for of in ELSEWHERE.values() for test in of.values()})
)
def test_a_test_that_is_named_here_exists(test: str) -> None:
    path, _, name = test.partition("::")

    assert f"def {name}" in (Path(__file__).parents[1] / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("operation", "option"),
    [(operation, option) for operation, cases in CASES.items() for option in cases],
)
def test_another_value_of_an_option_makes_another_result(
    tmp_path: Path, operation: str, option: str
) -> None:
    one = CASES[operation][option]
    path = one.file(tmp_path / "file")

    before = _made(path, operation, one.base)
    again = _made(path, operation, one.base)
    after = _made(path, operation, {**one.base, option: one.other})

    assert before == again
    assert before != after


def _made(path: Path, operation: str, options: Mapping[str, Any]) -> object:
    """Return all that a user gets: bytes, names, data, warnings, or the error."""
    report = run(path, [(operation, options)])
    files = [(file.name, file.read_bytes()) for file in outputs(path, report)]
    error = report.error and (report.error.code, report.error.message)
    data = json.loads(json.dumps(report.data))
    data.get("document", {}).pop("timings_ms", None)
    return files, data, report.warnings, report.skipped, error
