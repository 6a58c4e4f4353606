"""The fields of steps, seen through the library: real children, real files with EXIF and GPS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batchmill.local.results import ItemResult
from batchmill.model.item import ItemStatus
from support.faulty import faulty
from support.local_runs import Process, process
from support.pictures import pil, scene

__all__ = ["faulty", "process"]

OUTSIDE = {"left": 5000}
"""Options with which crop fails on every picture of these tests."""
KEEP = {"use": "crop", "with": OUTSIDE, "on_error": "keep_original"}
NEVER = {"min_width": 9_000}
MAKER, GPS = 0x010F, 0x8825
Processed = Callable[..., ItemResult]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG that says who took it and where, and is to be turned for its viewer."""
    exif = Image.Exif()
    exif[MAKER], exif[0x0112] = "A Camera Maker", 6
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 8.0, 0.0)})
    pil(scene(200, 150)).save(tmp_path / "photo.jpg", exif=exif, quality=90)
    return tmp_path / "photo.jpg"


@pytest.fixture
def processed(process: Process) -> Processed:
    """Take a file through steps; more fields are the pipeline's."""

    def run(path: Path, *steps: dict[str, Any], **fields: Any) -> ItemResult:
        (item,) = process([path], {"steps": list(steps), **fields}).items
        return item

    return run


def kept(item: ItemResult, path: Path) -> Image.Image:
    """Return what was delivered in place of a result."""
    assert item.error is None, item.error
    assert (item.status, item.skipped) == (ItemStatus.SKIPPED, "unchanged")
    assert any(each.endswith("the original was kept") for each in item.warnings)
    (file,) = item.files
    assert file.content is not None
    path.with_suffix(".kept").write_bytes(file.content)
    return Image.open(path.with_suffix(".kept"))


# ---------------------------------------------------------------- on_error


def test_the_original_is_delivered_less_its_metadata(photo: Path, processed: Processed) -> None:
    original = kept(processed(photo, KEEP, {"use": "convert"}), photo)

    exif = original.getexif()
    assert (exif.get(MAKER), dict(exif.get_ifd(GPS))) == (None, {})
    assert exif[0x0112] == 6
    assert original.tobytes() == Image.open(photo).tobytes()


def test_the_original_keeps_the_metadata_that_a_step_asks_for(
    photo: Path, processed: Processed
) -> None:
    step = {"use": "convert", "with": {"keep": "all"}}

    item = processed(photo, KEEP, step)

    assert kept(item, photo).getexif().get_ifd(GPS)
    assert item.files[0].content == photo.read_bytes()


def test_a_step_that_does_not_run_asks_for_no_metadata(photo: Path, processed: Processed) -> None:
    step = {"use": "convert", "with": {"keep": "all"}, "if": NEVER}

    assert not kept(processed(photo, KEEP, step), photo).getexif().get_ifd(GPS)


@pytest.mark.parametrize("condition", [NEVER, {}], ids=["does not run", "runs after it"])
def test_keep_original_of_another_step_delivers_nothing(
    photo: Path, condition: dict[str, Any], processed: Processed
) -> None:
    failing = {"use": "crop", "with": OUTSIDE}
    other = {"use": "convert", "on_error": "keep_original", "if": condition}

    item = processed(photo, failing, other)

    assert (item.status, item.files) == (ItemStatus.FAILED, ())
    assert item.error
    assert item.error.step == "1-crop"


def test_damage_that_shows_while_writing_counts_by_the_steps_that_run(
    photo: Path, processed: Processed
) -> None:
    photo.write_bytes(photo.read_bytes()[:-2_000])
    keeps = {"use": "convert", "on_error": "keep_original"}
    fails = {"use": "resize"}

    assert kept(processed(photo, keeps, fails | {"if": NEVER}), photo).size == (200, 150)
    assert processed(photo, keeps, fails).status is ItemStatus.FAILED


def test_an_original_whose_metadata_cannot_be_removed_fails_and_says_so(
    photo: Path, processed: Processed
) -> None:
    photo.write_bytes(b"\xff\xd8\xff\xe0 nothing that follows is a picture")

    item = processed(photo, {"use": "convert", "on_error": "keep_original"})

    assert item.error
    assert "the original was not kept: the metadata of photo.jpg" in item.error.message


def test_a_remote_step_delivers_the_original_and_stops(
    photo: Path, faulty: Any, processed: Processed
) -> None:
    wrong = photo.rename(photo.with_name("wrong-photo.jpg"))
    resize = {"use": "resize", "with": {"width": 40}}
    remote = {"use": "faulty_call", "on_error": "keep_original"}

    item = processed(wrong, resize, remote, {"use": "convert", "with": {"format": "png"}})

    assert kept(item, wrong).size == (200, 150)
    assert not kept(item, wrong).getexif().get_ifd(GPS)
    assert list(item.step_ms).count("3-convert") == 0


def test_a_step_that_is_skipped_leaves_the_rest_to_run(photo: Path, processed: Processed) -> None:
    skipped = {"use": "crop", "with": OUTSIDE, "on_error": "skip"}

    item = processed(photo, skipped, {"use": "convert", "with": {"format": "png"}})

    assert (item.status, item.files[0].output.media_type) == (ItemStatus.COMPLETED, "image/png")
    assert item.warnings[0].startswith("crop was left out")


# ---------------------------------------------------------------- timeout_s


def test_the_time_of_one_step_holds_beside_steps_without(
    photo: Path, faulty: Any, processed: Processed
) -> None:
    slow = photo.rename(photo.with_name("slow-photo.jpg"))
    limited = {"use": "faulty", "with": {"seconds": 600}, "timeout_s": 0.5}

    item = processed(slow, {"use": "resize"}, limited, {"use": "convert"}, timeout_s=500)

    assert item.error
    assert (item.error.code, item.error.step) == ("attempt_timeout", "2-faulty")
    assert "longer than 0.5 s" in item.error.message


def test_the_time_of_a_step_is_not_that_of_the_steps_after_it(
    photo: Path, faulty: Any, processed: Processed
) -> None:
    slow = photo.rename(photo.with_name("slow-photo.jpg"))
    quick = {"use": "resize", "with": {"width": 40}, "timeout_s": 30}

    item = processed(slow, quick, {"use": "faulty", "with": {"seconds": 0.1}}, timeout_s=500)

    assert item.ok
    assert item.files[0].output.width == 40


@pytest.mark.parametrize("width", [40, 900])
def test_a_limit_on_time_changes_no_pixel(photo: Path, width: int, processed: Processed) -> None:
    steps = [
        {"use": "crop", "with": {"left": 10}},
        {"use": "resize", "with": {"width": width, "enlarge": True}},
        {"use": "convert", "with": {"format": "png"}},
    ]
    limited = [{**step, "timeout_s": 400} for step in steps]

    free, bound = processed(photo, *steps), processed(photo, *limited, timeout_s=500)

    assert free.files[0].content == bound.files[0].content


# ---------------------------------------------------------------- retries


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize("operation", ["faulty", "faulty_call"])
@pytest.mark.parametrize(("own", "whole", "attempts"), [(0, 3, 1), (1, 0, 2)])
def test_the_retries_of_a_step_override_the_pipelines(
    photo: Path,
    operation: str,
    processed: Processed,
    *,
    own: int,
    whole: int,
    attempts: int,
) -> None:
    flaky = photo.rename(photo.with_name("flaky-photo.jpg"))

    item = processed(flaky, {"use": "resize"}, {"use": operation, "retries": own}, retries=whole)

    assert item.attempts == attempts
    assert item.ok is (attempts == 2)


def test_what_the_caller_says_holds_for_every_step(
    photo: Path, faulty: Any, process: Process
) -> None:
    flaky = photo.rename(photo.with_name("flaky-photo.jpg"))
    pipeline = {"steps": [{"use": "faulty", "retries": 3}]}

    (item,) = process([flaky], pipeline, retries=0).items

    assert item.attempts == 1


def test_the_pipelines_own_retries_and_time_hold_where_the_caller_says_nothing(
    photo: Path, faulty: Any, processed: Processed
) -> None:
    slow = photo.rename(photo.with_name("slow-photo.jpg"))
    flaky = Path(str(photo).replace("photo.jpg", "flaky-photo.jpg"))
    flaky.write_bytes(slow.read_bytes())
    step = {"use": "faulty", "with": {"seconds": 600}}

    late = processed(slow, step, timeout_s=0.5)
    once = processed(flaky, step, retries=0)

    assert late.error
    assert "longer than 0.5 s" in late.error.message
    assert once.attempts == 1


# ---------------------------------------------------------------- the rest


def test_no_file_is_small_enough_for_max_bytes_0(photo: Path, processed: Processed) -> None:
    item = processed(photo, {"use": "resize", "with": {"width": 40}, "if": {"max_bytes": 0}})

    assert item.skipped == "filtered"


def test_a_tolerant_pipeline_takes_a_damaged_file_and_says_so(
    photo: Path, processed: Processed
) -> None:
    photo.write_bytes(photo.read_bytes()[:-2_000])
    step = {"use": "convert", "with": {"format": "png"}}

    assert processed(photo, step).status is ItemStatus.FAILED
    item = processed(photo, step, tolerant=True)

    assert item.ok
    assert item.warnings[0].endswith("; kept")


def test_a_pipeline_of_concurrency_1_works_on_one_file_at_a_time(
    photo: Path, faulty: Any, process: Process
) -> None:
    copies = [photo.with_name(f"{n}.jpg") for n in range(4)]
    for copy in copies:
        copy.write_bytes(photo.read_bytes())
    faulty.CALLS.most = 0

    process(copies, {"steps": [{"use": "faulty_call"}], "concurrency": 1})

    assert faulty.CALLS.most == 1
