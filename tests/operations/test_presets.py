from pathlib import Path

import pytest
import pyvips

from batchmill.errors.request import InvalidOptionError, InvalidPipelineError, UnknownNameError
from batchmill.operations import presets
from support.pictures import difference, made, outputs, run, scene

PHOTOS = Path(__file__).parents[2] / "docs" / "images" / "before-after.png"
OURS = ("archive", "compress", "fast", "thumbnail", "web")


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_a_checked_pipeline_with_limits(name: str) -> None:
    pipeline = presets.get(name)
    assert pipeline.name == name
    assert pipeline.timeout_s
    assert pipeline.retries is not None
    assert presets.summaries()[name].endswith(".")


def test_web_is_what_the_image_server_of_the_reference_does() -> None:
    pipeline = presets.get("web")
    resize, convert = pipeline.steps
    assert (resize.options["width"], resize.options["height"]) == (1024, 1024)
    assert (convert.options["format"], convert.options["quality"]) == ("webp", 80)
    assert (pipeline.retries, pipeline.timeout_s, pipeline.family) == (3, 30, "images")


@pytest.mark.parametrize("name", OURS)
def test_our_presets_make_a_picture(tmp_path: Path, name: str) -> None:
    scene(1500, 1000).jpegsave(tmp_path / "in.jpg", Q=95)
    steps = [(step.use, step.options) for step in presets.get(name).steps]
    result = made(tmp_path / "in.jpg", steps)
    assert {
        "web": (1024, 683), "fast": (1024, 683), "thumbnail": (256, 256),
    }.get(name, (1500, 1000)) == (result.width, result.height)  # fmt: skip


def test_a_folder_of_own_presets_comes_before_ours(tmp_path: Path) -> None:
    (tmp_path / "web.toml").write_text('[[steps]]\nuse = "resize"\nwith = { width = 10 }\n')
    (tmp_path / "shop.toml").write_text('summary = "Ours."\n[[steps]]\nuse = "convert"\n')
    assert presets.get("web", tmp_path).steps[0].options["width"] == 10
    assert presets.summaries(tmp_path)["shop"] == "Ours."
    assert set(presets.names(tmp_path)) == {*presets.names(), "shop"}


def test_a_single_file_is_a_preset_too(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text('[[steps]]\nuse = "convert"\n')
    assert presets.get("shop", tmp_path / "shop.toml").name == "shop"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("steps = [", InvalidPipelineError),
        ("steps = []", InvalidPipelineError),
        ('[[steps]]\nuse = "no_such"', UnknownNameError),
        ('[[steps]]\nuse = "convert"\nwith = { quality = 900 }', InvalidOptionError),
    ],
)
def test_a_wrong_preset_is_refused(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(error):
        presets.get("own", tmp_path)


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'thumbnail'"):
        presets.get("thumbnial")


def test_fast_makes_the_same_size_of_picture_as_web(tmp_path: Path) -> None:
    scene(1500, 1000).jpegsave(tmp_path / "in.jpg", Q=95)
    for name in ("web", "fast"):
        steps = [(step.use, step.options) for step in presets.get(name).steps]
        (output,) = run(tmp_path / "in.jpg", steps).outputs
        assert (output.width, output.height, output.media_type) == (1024, 683, "image/webp")


def test_fast_is_as_good_as_web_for_few_more_bytes(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(PHOTOS.read_bytes())
    sizes, errors = {}, {}
    for name in ("web", "fast"):
        resize, convert = [(step.use, step.options) for step in presets.get(name).steps]
        lossless = [resize, ("convert", {"format": "png", "never_larger": False})]
        report = run(tmp_path / "in.png", [resize, convert])
        sizes[name] = report.outputs[0].bytes
        shown = pyvips.Image.new_from_file(str(outputs(tmp_path / "in.png", report)[0]))
        errors[name] = difference(shown.copy_memory(), made(tmp_path / "in.png", lossless))
    assert sizes["fast"] < sizes["web"] * 1.1
    assert errors["fast"] < errors["web"] * 1.02
