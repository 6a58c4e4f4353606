import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pyvips
from PIL import Image

from support.pictures import (
    Steps,
    difference,
    made,
    output,
    outputs,
    pil,
    refused,
    run,
    scene,
    vips,
)

FORMATS = {
    "jpeg": ("jpg", "image/jpeg"),
    "png": ("png", "image/png"),
    "webp": ("webp", "image/webp"),
    "avif": ("avif", "image/avif"),
    "tiff": ("tiff", "image/tiff"),
    "gif": ("gif", "image/gif"),
}
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" exif:GPSLatitude="48,8.0N" dc:format="kept">'
    b"<exif:GPSLongitude>16,20E</exif:GPSLongitude></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def _exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 0.0)
    return exif


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG that says where and with what it was taken, lying on its side."""
    path = tmp_path / "photo.jpg"
    pil(scene(600, 400)).save(path, quality=95, exif=_exif(6), xmp=XMP)
    return path


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_is_written_and_reported_as_it_is(photo: Path, format_: str) -> None:
    steps: Steps = [("resize", {"width": 80}), ("convert", {"format": format_, "effort": 1})]
    report = run(photo, steps)
    (row,) = report.outputs
    (path,) = outputs(photo, report)
    content = path.read_bytes()
    extension, media_type = FORMATS[format_]
    assert (row.name, row.media_type) == (f"photo.{extension}", media_type)
    assert row.bytes == len(content)
    with Image.open(BytesIO(content)) as image:
        assert image.get_format_mimetype() == media_type
        assert image.size == (row.width, row.height) == (80, 120)


@pytest.mark.parametrize("format_", ["webp", "avif", "png", "tiff"])
def test_lossless_keeps_every_pixel(tmp_path: Path, format_: str) -> None:
    scene(90, 60).pngsave(tmp_path / "in.png")
    options = {"format": format_, "lossless": True, "effort": 1}
    result = made(tmp_path / "in.png", [("convert", options)])
    assert difference(result, scene(90, 60)) == 0


@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif", "png", "tiff"])
def test_a_lower_quality_makes_a_smaller_file(photo: Path, format_: str) -> None:
    sizes = [
        output(photo, [("convert", {"format": format_, "quality": quality, "effort": 1})])
        .stat()
        .st_size
        for quality in (15, 90)
    ]
    assert sizes[0] < sizes[1]


def test_progressive_is_what_jpeg_is_by_default(photo: Path) -> None:
    for progressive in (True, False):
        steps: Steps = [("resize", {"width": 90}), ("convert", {"progressive": progressive})]
        with Image.open(output(photo, steps)) as image:
            assert bool(image.info.get("progressive")) is progressive


def test_transparency_becomes_the_background_in_jpeg(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 40), (0, 0, 255, 0)).save(tmp_path / "in.png")
    options = {"format": "jpeg", "background": "#ff0000"}
    red, green, blue = made(tmp_path / "in.png", [("convert", options)])(5, 5)
    assert red > 250
    assert max(green, blue) < 5


def test_grey_with_transparency_takes_a_coloured_background(tmp_path: Path) -> None:
    Image.new("LA", (50, 40), (80, 0)).save(tmp_path / "in.png")
    options = {"format": "jpeg", "background": "#00ff00"}
    assert made(tmp_path / "in.png", [("convert", options)]).bands == 3


def test_a_picture_that_the_format_cannot_hold_is_refused_with_a_way_out(tmp_path: Path) -> None:
    pyvips.Image.black(16_400, 4).pngsave(tmp_path / "in.png")
    report = run(tmp_path / "in.png", [("convert", {"format": "webp"})])
    assert report.error
    assert report.error.code == "too_many_pixels"
    assert "16,383 px: resize it or choose another format" in report.error.message


def test_auto_takes_the_smallest_of_what_is_sensible(photo: Path) -> None:
    sizes = {
        format_: run(photo, [("convert", {"format": format_})]).outputs[0].bytes
        for format_ in ("jpeg", "webp", "auto")
    }
    assert sizes["auto"] == min(sizes["jpeg"], sizes["webp"])
    assert len(list((photo.parent / "photo.jpg.job" / "out").iterdir())) == 1


def test_auto_takes_png_for_flat_graphics(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 64), "white")
    image.putdata([((x * y) % 2 * 255, 0, 0) for y in range(64) for x in range(64)])
    image.save(tmp_path / "in.tiff")
    (row,) = run(tmp_path / "in.tiff", [("convert", {"format": "auto"})]).outputs
    assert row.media_type == "image/png"


# ---------------------------------------------------------------- max_bytes


@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif", "png", "auto"])
def test_max_bytes_is_kept(photo: Path, format_: str) -> None:
    free = run(photo, [("convert", {"format": format_, "effort": 1})]).outputs[0].bytes
    wanted = free // 2
    report = run(photo, [("convert", {"format": format_, "max_bytes": wanted, "effort": 1})])
    assert report.error is None, report.error
    (row,) = report.outputs
    assert wanted // 4 < row.bytes <= wanted
    assert (row.width, row.height) == (400, 600)


def test_max_bytes_leaves_alone_what_fits(photo: Path) -> None:
    free = output(photo, [("convert", {"format": "jpeg"})]).read_bytes()
    steps: Steps = [("convert", {"format": "jpeg", "max_bytes": len(free)})]
    assert output(photo, steps).read_bytes() == free


def test_max_bytes_out_of_reach_is_an_error_that_says_what_is_possible(photo: Path) -> None:
    report = run(photo, [("convert", {"format": "jpeg", "max_bytes": 200})])
    assert report.error
    assert report.error.code == "max_bytes"
    assert "the smallest is" in report.error.message


def test_auto_leaves_out_formats_that_cannot_be_small_enough(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 300), "white")
    image.putdata([(x * y % 200, 0, 0) for y in range(300) for x in range(300)])
    image.save(tmp_path / "in.png")
    report = run(tmp_path / "in.png", [("convert", {"format": "auto", "max_bytes": 3000})])
    assert report.error is None
    assert report.outputs[0].bytes <= 3000
    assert len(list((tmp_path / "in.png.job" / "out").iterdir())) == 1


# ---------------------------------------------------------------- never larger


def _source(tmp_path: Path, kind: str) -> Path:
    """A file that encoding again at the default quality can't make smaller."""
    path = tmp_path / f"in.{kind}"
    image = pil(scene(300, 200, grain=40))
    if kind == "jpg":
        image.save(path, quality=30, exif=_exif(), xmp=XMP)
    elif kind == "webp":
        image.save(path, quality=5, exif=_exif(), xmp=XMP)
    elif kind == "avif":
        image.save(path, quality=20, exif=_exif(), speed=6)
    elif kind == "tiff":
        image.quantize(4).save(path, compression="tiff_lzw", exif=_exif())
    elif kind == "gif":
        image.quantize(8).save(path, comment=b"taken at home")
    else:
        image.quantize(4).save(path, exif=_exif(), optimize=True)
    return path


@pytest.mark.parametrize("kind", ["jpg", "webp", "png", "gif", "tiff", "avif"])
@pytest.mark.parametrize("step", ["convert", "compress"])
def test_what_encoding_cannot_shrink_is_delivered_as_it_was(
    tmp_path: Path, kind: str, step: str
) -> None:
    path = _source(tmp_path, kind)
    report = run(path, [(step, {"effort": 1})])
    assert report.error is None, report.error
    (row,) = report.outputs
    assert row.bytes <= path.stat().st_size
    with Image.open(path) as before, Image.open(outputs(path, report)[0]) as after:
        assert row.width == after.width == 300
        if report.skipped:
            assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["jpg", "webp"])
def test_delivering_the_source_is_said(tmp_path: Path, kind: str) -> None:
    assert run(_source(tmp_path, kind), [("compress", {})]).skipped == "larger_than_source"


def test_a_delivered_source_loses_its_metadata_but_not_its_orientation(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    pil(scene(300, 200, grain=40)).save(path, quality=30, exif=_exif(6), xmp=XMP)
    report = run(path, [("compress", {})])
    assert report.skipped == "larger_than_source"
    (row,) = report.outputs
    (result,) = outputs(path, report)
    assert b"Maker" not in result.read_bytes()
    assert b"GPS" not in result.read_bytes()
    with Image.open(result) as image:
        assert image.getexif()[0x0112] == 6
        assert image.size == (300, 200)
    assert (row.width, row.height) == (200, 300)


def test_a_source_is_never_delivered_instead_of_a_changed_picture(tmp_path: Path) -> None:
    path, larger = _source(tmp_path, "jpg"), ("convert", {"quality": 100})
    assert run(path, [larger]).skipped == "larger_than_source"
    for step in (("crop", {"width": 299}), ("watermark", {"text": "x"})):
        report = run(path, [step, larger])
        assert (report.error, report.skipped) == (None, None)
        assert report.outputs[0].bytes > path.stat().st_size


def test_never_larger_can_be_turned_off(tmp_path: Path) -> None:
    path = _source(tmp_path, "jpg")
    report = run(path, [("convert", {"never_larger": False})])
    assert report.skipped is None
    assert report.outputs[0].bytes > path.stat().st_size


@pytest.fixture
def frugal(tmp_path: Path) -> Path:
    """A small AVIF with metadata, which every other format takes more bytes for."""
    path = tmp_path / "in.avif"
    pil(scene(600, 400, grain=12)).save(path, quality=20, exif=_exif())
    return path


@pytest.mark.parametrize("format_", ["webp", "jpeg", "png"])
def test_compress_delivers_the_source_where_another_format_is_larger(
    frugal: Path, format_: str
) -> None:
    report = run(frugal, [("compress", {"format": format_, "quality": 90})])

    (row,) = report.outputs
    (result,) = outputs(frugal, report)
    assert report.skipped == "larger_than_source"
    assert (row.name, row.media_type) == ("in.avif", "image/avif")
    assert result.stat().st_size <= frugal.stat().st_size
    assert b"Maker" not in result.read_bytes()
    assert [path.name for path in result.parent.iterdir()] == ["in.avif"]
    assert report.warnings == ()


def test_compress_never_delivers_heic_which_few_programs_show(tmp_path: Path) -> None:
    import pillow_heif

    path = tmp_path / "in.heic"
    pillow_heif.from_pillow(pil(scene(600, 400, grain=12))).save(path, quality=20)
    report = run(path, [("compress", {"quality": 95})])

    assert report.outputs[0].name == "in.jpg"
    assert report.outputs[0].bytes > path.stat().st_size


def test_compress_writes_a_larger_file_where_that_is_asked_for(frugal: Path) -> None:
    options = {"format": "webp", "quality": 90, "never_larger": False}
    report = run(frugal, [("compress", options)])

    assert (report.skipped, report.outputs[0].name) == (None, "in.webp")
    assert report.warnings == ()


@pytest.mark.parametrize("step", [("resize", {"width": 600}), ("crop", {"width": 600})])
def test_another_format_that_is_larger_is_told_of(frugal: Path, step: Any) -> None:
    report = run(frugal, [step, ("convert", {"format": "webp", "quality": 90})])

    assert (report.skipped, report.outputs[0].name) == (None, "in.webp")
    before, after = frugal.stat().st_size, report.outputs[0].bytes
    assert [warning for warning in report.warnings if "larger" in warning] == [
        f"in.webp is larger than in.avif: {after:,} bytes, not {before:,};"
        " `compress` keeps the smaller one"
    ]


def test_nothing_is_told_of_a_smaller_file_or_of_the_same_format(tmp_path: Path) -> None:
    path = _source(tmp_path, "jpg")
    same = run(path, [("crop", {"width": 299}), ("convert", {"quality": 100})])
    smaller = run(path, [("convert", {"format": "avif"})])

    assert same.outputs[0].bytes > path.stat().st_size > smaller.outputs[0].bytes
    assert same.warnings == smaller.warnings == ()


def test_a_cmyk_source_is_never_delivered_for_screens(tmp_path: Path) -> None:
    pil(scene(200, 200, grain=40)).convert("CMYK").save(tmp_path / "in.jpg", quality=5)
    report = run(tmp_path / "in.jpg", [("convert", {"quality": 100})])
    assert report.skipped is None
    with Image.open(outputs(tmp_path / "in.jpg", report)[0]) as image:
        assert image.mode == "RGB"


# ---------------------------------------------------------------- optimisers


def test_compress_makes_smaller_jpegs_than_convert(photo: Path) -> None:
    sizes = [
        run(photo, [(step, {"quality": 75})]).outputs[0].bytes for step in ("compress", "convert")
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_compress_makes_png_smaller_without_changing_a_pixel(tmp_path: Path, mode: str) -> None:
    image = pil(scene(200, 150)).quantize(40).convert("RGBA").convert(mode)
    if mode == "RGBA":
        image.putalpha(image.getchannel("R").point(lambda value: 128 if value > 99 else 255))
    image.save(tmp_path / "in.png", compress_level=1)
    report = run(tmp_path / "in.png", [("compress", {})])
    assert report.outputs[0].bytes < (tmp_path / "in.png").stat().st_size
    with Image.open(outputs(tmp_path / "in.png", report)[0]) as result:
        assert difference(vips(result.convert(mode)), vips(image)) == 0


def test_a_palette_is_not_used_where_it_would_lose_a_colour(tmp_path: Path) -> None:
    image = Image.new("RGB", (1600, 1600), "white")
    image.paste(pil(scene(24, 24)), (801, 801))  # more colours than a palette holds, seldom seen
    image.save(tmp_path / "in.png", compress_level=1)
    result = made(tmp_path / "in.png", [("compress", {})])
    assert difference(result, vips(image)) == 0


# ---------------------------------------------------------------- metadata


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_is_said_about_the_maker_by_default(photo: Path, format_: str) -> None:
    steps: Steps = [("resize", {"width": 80}), ("convert", {"format": format_, "effort": 1})]
    content = output(photo, steps).read_bytes()
    assert b"Maker" not in content
    assert b"adobe:ns:meta" not in content
    assert b"2020:01:01" not in content


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("step", ["resize", "same"])
def test_exif_is_kept_without_the_place(photo: Path, format_: str, step: str) -> None:
    before = [("resize", {"width": 80})] if step == "resize" else []
    result = output(photo, [*before, ("convert", {"format": format_, "keep": "exif", "effort": 1})])
    with Image.open(result) as image:
        exif = image.getexif()
        assert exif[0x010F] == "Maker"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert exif.get_ifd(0x8825) == {}
        assert exif.get(0x0112, 1) == 1
        assert image.height > image.width


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif", "tiff"])
def test_xmp_is_kept_without_the_place(photo: Path, format_: str) -> None:
    options = {"format": format_, "keep": "xmp", "effort": 1}
    result = made(photo, [("resize", {"width": 80}), ("convert", options)])
    assert b'dc:format="kept"' in result.get("xmp-data")
    assert b"GPS" not in result.get("xmp-data")
    assert not result.get_typeof("exif-ifd0-Make")


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "avif"])
def test_all_keeps_the_place_too(photo: Path, format_: str) -> None:
    options = {"format": format_, "keep": "all", "effort": 1}
    result = output(photo, [("resize", {"width": 80}), ("convert", options)])
    with Image.open(result) as image:
        assert image.getexif().get_ifd(0x8825)[1] == "N"
        assert image.info["icc_profile"]


def test_the_thumbnail_inside_exif_never_survives(tmp_path: Path) -> None:
    inner = BytesIO()
    Image.new("RGB", (16, 16)).save(inner, "JPEG")
    image = scene(300, 200).copy()
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", inner.getvalue())
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Make", "Maker")
    image.jpegsave(tmp_path / "in.jpg", keep="all")
    result = made(tmp_path / "in.jpg", [("crop", {"width": 50}), ("convert", {"keep": "all"})])
    assert not result.get_typeof("jpeg-thumbnail-data")


def test_heic_metadata_is_kept_on_request(tmp_path: Path) -> None:
    import pillow_heif

    heif = pillow_heif.from_pillow(pil(scene(128, 96)))
    heif.save(tmp_path / "in.heic", exif=_exif().tobytes())
    steps: Steps = [("convert", {"format": "jpeg", "keep": "exif"})]
    with Image.open(output(tmp_path / "in.heic", steps)) as image:
        assert image.getexif()[0x010F] == "Maker"
        assert image.getexif().get_ifd(0x8825) == {}


def test_an_unknown_source_format_is_written_as_jpeg(tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.from_pillow(pil(scene(128, 96))).save(tmp_path / "in.heic")
    assert run(tmp_path / "in.heic", [("convert", {})]).outputs[0].name == "in.jpg"


def test_impossible_options_are_refused_in_the_child_too(photo: Path) -> None:
    from batchmill.sandbox.messages import JobStep

    bad = (JobStep("convert", {"quality": 1000}),)
    assert refused(photo, [], job_steps=bad) == "invalid_option"


@pytest.mark.parametrize("tag", [0x0100, 0x010F], ids=["width", "maker"])
def test_exif_with_a_value_of_a_wrong_type_fails_no_picture(tmp_path: Path, tag: int) -> None:
    """The maker as a fraction, as some software writes what it could not translate."""
    exif = struct.pack("<2sHIH", b"II", 42, 8, 2)
    exif += struct.pack("<HHII", tag, 5, 1, 38) + struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    exif += bytes(4) + struct.pack("<II", 1, 2)
    path = tmp_path / "in.jpg"
    pil(scene(300, 200, grain=40)).save(path, quality=30, exif=b"Exif\0\0" + exif)
    report = run(path, [("convert", {"keep": "exif"})])
    assert report.error is None
    with Image.open(outputs(path, report)[0]) as image:
        shown = image.getexif().get(0x0112, 1)
        assert (image.size, shown) in {((300, 200), 6), ((200, 300), 1)}
