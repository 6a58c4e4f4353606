from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations import registry
from batchmill.sandbox.messages import JobStep, StepProgress
from batchmill.sandbox.output_names import output_stem, safe_name
from batchmill.sandbox.run_job import execute
from support.pictures import job, outputs, run, scene

RESIZE = ("resize", {"width": 40})
OUTSIDE = {"left": 5000}
"""Options with which crop fails on every picture of these tests."""


def _step(use: str, options: dict[str, Any] | None = None, **fields: object) -> JobStep:
    complete = registry.options(use, options or {}).model_dump(mode="json")
    return JobStep(use, complete, id=str(fields.pop("id", use)), **fields)  # type: ignore[arg-type]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    scene(200, 150).jpegsave(tmp_path / "photo.jpg", Q=95)
    return tmp_path / "photo.jpg"


# ---------------------------------------------------------------- conditions


@pytest.mark.parametrize(
    ("condition", "width"),
    [
        ({}, 40),
        ({"types": ["image/jpeg"]}, 40),
        ({"types": ["image/*"]}, 40),
        ({"types": ["png", "jpg"]}, 40),
        ({"types": ["image/png"]}, 200),
        ({"min_width": 200, "min_height": 150}, 40),
        ({"min_width": 201}, 200),
        ({"min_height": 151}, 200),
        ({"min_bytes": 10, "max_bytes": 10_000_000}, 40),
        ({"min_bytes": 10_000_000}, 200),
        ({"max_bytes": 10}, 200),
        ({"types": ["image/jpeg"], "min_width": 500}, 200),
    ],
)
def test_a_step_runs_only_where_every_bound_holds(
    photo: Path, condition: dict[str, Any], width: int
) -> None:
    steps = (_step("resize", {"width": 40}, condition=condition), _step("convert"))
    report = run(photo, [], job_steps=steps)
    assert report.outputs[0].width == width


def test_a_file_that_no_step_takes_is_skipped_as_filtered(photo: Path) -> None:
    steps = (_step("resize", condition={"types": ["image/png"]}),)
    report = run(photo, [], job_steps=steps)
    assert (report.skipped, report.outputs, report.error) == ("filtered", (), None)


# ---------------------------------------------------------------- on_error


def test_a_failing_step_fails_the_file_by_default(photo: Path) -> None:
    report = run(photo, [], job_steps=(_step("resize"), _step("crop", OUTSIDE, id="the cut")))
    assert report.error
    assert report.error.step == "the cut"
    assert report.outputs == ()


def test_a_failing_step_can_be_left_out(photo: Path) -> None:
    steps = (_step("crop", OUTSIDE, on_error="skip"), _step("resize", {"width": 40}))
    report = run(photo, [], job_steps=steps)
    assert report.error is None
    assert report.outputs[0].width == 40
    assert report.warnings[0].startswith("crop was left out: photo.jpg is 200×150 px")


def test_a_failing_step_that_keeps_the_original_says_so(photo: Path) -> None:
    steps = (_step("crop", OUTSIDE, on_error="keep_original"), _step("resize", {"width": 40}))
    report = run(photo, [], job_steps=steps)
    assert report.error
    assert report.error.keep_original
    assert report.outputs == ()


def test_only_the_step_that_failed_is_asked_for_the_original(photo: Path) -> None:
    steps = (_step("crop", OUTSIDE), _step("convert", on_error="keep_original"))
    report = run(photo, [], job_steps=steps)
    assert report.error
    assert not report.error.keep_original


@pytest.mark.parametrize("other", ["keep_original", "fail"])
def test_damage_that_shows_only_while_encoding_belongs_to_every_step(
    photo: Path, other: str
) -> None:
    photo.write_bytes(photo.read_bytes()[:-2000])
    steps = (_step("convert", on_error="keep_original"), _step("convert", on_error=other))
    report = run(photo, [], job_steps=steps)
    assert report.error
    assert report.error.step == "encode"
    assert report.error.keep_original is (other == "keep_original")


def test_the_original_is_the_source_without_metadata_that_no_step_keeps(photo: Path) -> None:
    report = run(photo, [], job_steps=(), original=True)
    assert report.error is None
    (output,) = report.outputs
    assert (output.width, output.height, output.media_type) == (200, 150, "image/jpeg")
    assert len(outputs(photo, report)[0].read_bytes()) <= photo.stat().st_size


# ---------------------------------------------------------------- report


def test_the_time_of_every_step_is_told(photo: Path) -> None:
    report = run(photo, [RESIZE, ("convert", {"format": "webp"})])
    assert list(report.step_ms) == ["open", "resize", "convert", "encode"]
    assert all(spent >= 0 for spent in report.step_ms.values())


def test_progress_names_the_running_step(photo: Path) -> None:
    seen: list[StepProgress] = []
    execute(job(photo, [RESIZE, ("convert", {})]), seen.append)
    assert [each.step for each in seen] == ["resize", "convert", "encode"]
    assert all(0 <= each.fraction <= 1 for each in seen)


def test_a_step_of_an_unknown_name_is_reported(photo: Path) -> None:
    report = run(photo, [], job_steps=(JobStep("nothing"),))
    assert report.error
    assert report.error.code == "unknown_name"


def test_a_source_that_is_gone_is_reported(photo: Path) -> None:
    gone = job(photo, [RESIZE])
    Path(gone.source).unlink()
    report = execute(gone, lambda _: None)
    assert report.error
    assert report.error.code == "operation_failed"
    assert str(photo.parent) not in report.error.message
    assert "FileNotFoundError" in (report.error.detail or "")


def test_a_file_that_fails_leaves_nothing_of_the_one_before(photo: Path) -> None:
    assert run(photo, [RESIZE]).outputs
    photo.write_bytes(b"\xff\xd8\xff damaged")
    assert run(photo, [RESIZE]).outputs == ()


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("label", "stem"),
    [
        ("photo.jpg", "photo"),
        ("a/b/c.tar.gz", "c.tar"),
        ("C:\\pictures\\me.png", "me"),
        ("../../etc/passwd", "passwd"),
        (".hidden", "hidden"),
        ("con.jpg", "_con"),
        ("..", "file"),
        ("", "file"),
        ("a\r\nb\x00.jpg", "a__b_"),
        ("ünïcode 日本.jpg", "ünïcode 日本"),
    ],
)
def test_an_output_is_named_after_the_file(label: str, stem: str) -> None:
    assert output_stem(label, "", set()) == stem


@given(st.text(max_size=300))
def test_no_label_leaves_the_folder(label: str) -> None:
    name = safe_name(label)
    assert Path("/folder", name).resolve().parent == Path("/folder")
    assert 0 < len(name.encode()) <= 160
    assert not any(ord(char) < 32 for char in name)


@given(st.lists(st.sampled_from(["", "-face", "-2"]), max_size=6))
def test_names_of_one_file_are_all_different(suffixes: list[str]) -> None:
    taken: set[str] = set()
    for suffix in suffixes:
        taken.add(output_stem("photo.jpg", suffix, taken))
    assert len(taken) == len(suffixes)


def test_the_name_of_the_file_is_a_label_only(photo: Path) -> None:
    report = run(photo, [RESIZE], name="../../../../tmp/evil\n.jpg")
    assert report.outputs[0].name == "evil_.jpg"
    assert outputs(photo, report)[0].exists()
