"""The operations themselves, inside the sandbox: it must take nothing away that they need."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pillow_heif
import pytest

from batchmill.model.media import Family
from batchmill.operations import registry
from batchmill.operations.contract import Transform
from batchmill.sandbox.messages import Job, JobStep, Report
from batchmill.sandbox.pool import Pool
from support import documents, parts
from support.camera_raw import write_dng
from support.pictures import pil, scene

TRANSFORMS = [n for n in registry.names() if isinstance(registry.get(n), Transform)]
InChild = Callable[[bytes, str, dict[str, Any]], Report]
OPTIONS = {"watermark": {"text": "Grüße aus 日本"}}


@pytest.fixture(scope="module")
def in_child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InChild]:
    """Run one step on bytes in a confined child, and return its report."""
    with asyncio.Runner() as runner:
        pool = runner.run(_opened(tmp_path_factory.mktemp("confined")))

        def run(body: bytes, name: str, options: dict[str, Any]) -> Report:
            job = _job(pool, body, name, options)
            return runner.run(pool.run(job, owner="anna", wall_s=120))

        yield run
        runner.run(pool.aclose())


async def _opened(folder: Path) -> Pool:
    return Pool(1, folder / "scratch")


def _job(pool: Pool, body: bytes, name: str, options: dict[str, Any]) -> Job:
    folder = pool.scratch.lend()
    (folder / "1").mkdir(parents=True)
    source = folder / "source"
    source.write_bytes(body)
    complete = registry.options(name, options).model_dump(mode="json")
    return Job(str(source), str(folder / "1"), "file", (JobStep(name, complete, id=name),))


def _accepted(name: str) -> bytes:
    if Family.IMAGE in registry.get(name).accepts:
        return scene(320, 240).pngsave_buffer()
    return documents.pdf(documents.line_of_text("a price list"))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_operation_finds_all_it_needs_inside_the_sandbox(in_child: InChild, name: str) -> None:
    report = in_child(_accepted(name), name, OPTIONS.get(name, {}))
    if report.error and report.error.code == "face_model_missing":
        parts.missing("the face model")
    assert report.error is None, report.error
    assert report.outputs or report.data


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif", "tiff", "gif"])
def test_every_format_is_written_inside_the_sandbox(in_child: InChild, format_: str) -> None:
    report = in_child(scene(64, 48).pngsave_buffer(), "convert", {"format": format_})
    assert report.error is None, report.error
    assert report.outputs[0].media_type == f"image/{format_}"


def test_heic_is_read_inside_the_sandbox(in_child: InChild, tmp_path: Path) -> None:
    path = Path(tmp_path, "cat.heic")
    pillow_heif.from_pillow(pil(scene(64, 48))).save(path)
    report = in_child(path.read_bytes(), "convert", {"format": "png"})
    assert report.error is None, report.error
    assert (report.outputs[0].width, report.outputs[0].height) == (64, 48)


def test_camera_raw_is_developed_inside_the_sandbox(in_child: InChild, tmp_path: Path) -> None:
    write_dng(tmp_path / "in.dng", scene(64, 48))
    body = (tmp_path / "in.dng").read_bytes()
    report = in_child(body, "convert", {"format": "png"})
    assert report.error is None, report.error
    assert (report.outputs[0].width, report.outputs[0].height) == (64, 48)
    broken = in_child(body[:-100], "compress", {}).error
    assert broken is not None
    assert broken.code == "unreadable_file"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"name,price\nbread,2.50\nmilk,1.20\n", "table"),
        (documents.xlsx(documents.sheet_data([["name", "price"], ["bread", 2.5]])), "workbook"),
    ],
    ids=["csv", "xlsx"],
)
def test_documents_are_read_inside_the_sandbox(in_child: InChild, body: bytes, kind: str) -> None:
    report = in_child(body, "analyze", {})
    assert report.error is None, report.error
    assert report.data["document"]["kind"] == kind
    assert [output.name for output in report.outputs] == (
        ["document.sheet1.csv"] if kind == "workbook" else []
    )


def test_an_encrypted_document_is_told_from_a_broken_one_inside_the_sandbox(
    in_child: InChild,
) -> None:
    report = in_child(documents.encrypted_pdf(), "analyze", {})
    assert report.error is not None
    assert report.error.code == "encrypted_file"
