"""The demo's own part: pairing photos with their results, and the picture of both."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "examples" / "demo_photos.py"


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_photos", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, ending in ((before, "PNG"), (after, "webp")):
        (folder / "summer").mkdir(parents=True)
        Image.effect_noise((640, 480), 60).save(folder / f"small.{ending}")
        Image.effect_noise((900, 700), 60).save(folder / "summer" / f"small.{ending}")
    (before / "failed.png").write_bytes(b"no picture")
    return before, after


def test_a_photo_is_paired_with_the_result_at_its_own_place(
    demo: ModuleType, folders: tuple[Path, Path]
) -> None:
    before, after = folders

    assert demo.find_pairs(before, after) == [
        (before / "summer" / "small.PNG", after / "summer" / "small.webp"),
        (before / "small.PNG", after / "small.webp"),
    ]


def test_the_picture_has_a_column_for_every_pair(
    demo: ModuleType, folders: tuple[Path, Path]
) -> None:
    pairs = demo.find_pairs(*folders)
    one, two = demo.draw_sheet(pairs[:1]), demo.draw_sheet(pairs)

    assert one.height == two.height
    assert two.width - one.width == one.width - demo.GAP_PX


def test_a_label_says_how_much_was_saved(demo: ModuleType, folders: tuple[Path, Path]) -> None:
    pair = demo.find_pairs(*folders)[0]
    before, after = (path.stat().st_size for path in pair)

    assert demo.labels(pair)[1].endswith(f"-{100 * (1 - after / before):.0f} %")
