from pathlib import Path

import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.box import place
from support.pictures import difference, made, scene

sides = st.integers(1, 5000)


@given(size=st.tuples(sides, sides), box=st.tuples(sides, sides), enlarge=st.booleans())
def test_inside_never_exceeds_the_box_and_keeps_the_aspect(size, box, enlarge):
    width, height = place(size, box, fit="inside", enlarge=enlarge).final
    assert width <= box[0]
    assert height <= box[1]
    scale = min(box[0] / size[0], box[1] / size[1])
    scale = scale if enlarge else min(scale, 1)
    assert abs(width - size[0] * scale) <= 1
    assert abs(height - size[1] * scale) <= 1


@given(size=st.tuples(sides, sides), box=st.tuples(sides, sides), fit=st.sampled_from(
    ["inside", "cover", "outside", "fill"]))  # fmt: skip
def test_nothing_is_enlarged_unless_asked(size, box, fit):
    width, height = place(size, box, fit=fit, enlarge=False).scaled
    assert width <= size[0]
    assert height <= size[1]


@given(size=st.tuples(sides, sides), box=st.tuples(sides, sides))
def test_cover_and_contain_fill_the_box_exactly_when_they_may_enlarge(size, box):
    assert place(size, box, fit="cover", enlarge=True).final == box
    assert place(size, box, fit="contain", enlarge=True).final == box


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_upright_picture(tmp_path: Path, orientation: int):
    upright = scene(640, 400)
    stored = {
        1: lambda im: im,
        2: lambda im: im.fliphor(),
        3: lambda im: im.rot180(),
        4: lambda im: im.flipver(),
        5: lambda im: im.rot90().fliphor(),
        6: lambda im: im.rot270(),
        7: lambda im: im.rot270().fliphor(),
        8: lambda im: im.rot90(),
    }[orientation](upright).copy()
    stored.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    stored.jpegsave(str(tmp_path / "in.jpg"), Q=98, subsample_mode="off")
    result = made(tmp_path / "in.jpg", [("resize", {"width": 160}), ("convert", {"format": "png"})])
    assert (result.width, result.height) == (160, 100)
    assert not result.get_typeof("orientation")
    assert difference(result, upright.resize(0.25)) < 2
