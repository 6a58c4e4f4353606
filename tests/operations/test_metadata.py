"""What is kept of metadata says nothing of the place, and what is not kept is nowhere."""

import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from batchmill.model.media import AVIF, GIF, JPEG, PNG, TIFF, WEBP
from batchmill.operations.images.codec.metadata import (
    cleaned,
    exif_without_position,
    with_exif,
    with_packets,
    without_position,
)
from batchmill.operations.images.codec.strip.file import stripped
from batchmill.operations.images.codec.strip.policy import Policy
from batchmill.operations.picture import Keep, Packets
from support.pictures import pil, scene

NONE = Policy("none")
SECRET = b"Secret"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" exif:GPSLatitude="1" dc:title="T"/>'
TAGS = ("exif-ifd0-Make", "exif-ifd3-GPSLatitude", "exif-ifd1-Compression")


def saved(kind: str, **more: Any) -> bytes:
    out = BytesIO()
    pil(scene(40, 30)).save(out, kind, **more)
    return out.getvalue()


def an_exif(maker: str) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = maker
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes(8).removeprefix(b"Exif\0\0")


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_app1(exif: bytes) -> bytes:
    content = saved("JPEG")
    return content[:2] + segment(0xE1, b"Exif\0\0" + exif) + content[2:]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


NAMES = st.from_regex(r"exif:GPS[A-Z][A-Za-z]{0,20}", fullmatch=True)
VALUES = st.text("0123456789,.NESW ", max_size=30)


@given(name=NAMES, value=VALUES)
def test_a_position_leaves_an_xmp_packet_however_it_is_written(name: str, value: str) -> None:
    for written in (
        f' {name}="{value}"',
        f" {name} = '{value}'",
        f"><{name}>{value}</{name}",
        f"><{name} xml:lang='x'>\n{value}\n</{name} ",
        f"><{name} rdf:resource='{value}'/",
    ):
        left = without_position(f"<x:d{written}><dc:title>T</dc:title></x:d>".encode())
        assert b"GPS" not in left
        assert b"<dc:title>T</dc:title>" in left


def test_kept_exif_has_no_directory_of_a_place() -> None:
    exif = Image.Exif()
    exif.load(exif_without_position(an_exif("maker")))
    assert exif[0x010F] == "maker"
    assert 0x8825 not in exif


def test_exif_that_cannot_be_read_is_dropped_whole() -> None:
    assert exif_without_position(b"Secret place, but no TIFF header") == b""


def test_exif_that_no_jpeg_could_hold_is_left_out() -> None:
    image = scene(8, 8)
    assert with_exif(image, bytes(70_000)) is image


def test_the_first_of_two_exif_segments_of_a_jpeg_is_believed() -> None:
    content = saved("JPEG")
    two = [segment(0xE1, b"Exif\0\0" + an_exif(maker)) for maker in ("first", "other")]
    result = stripped(content[:2] + b"".join(two) + content[2:], JPEG, Policy("exif"))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.getexif()[0x010F] == "first"


def test_a_jpeg_that_adobe_marked_keeps_its_colours() -> None:
    out = BytesIO()
    pil(scene(40, 30)).convert("CMYK").save(out, "JPEG", quality=95)
    result = stripped(out.getvalue(), JPEG, NONE)
    assert result is not None
    with Image.open(BytesIO(result)) as after, Image.open(out) as before:
        assert after.info.get("adobe") == before.info["adobe"]
        assert after.tobytes() == before.tobytes()


def test_a_mirrored_picture_stays_mirrored() -> None:
    result = stripped(saved("JPEG"), JPEG, Policy("none", 2))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.getexif()[0x0112] == 2


def test_what_an_application_hid_in_a_gif_is_dropped() -> None:
    content = saved("GIF")
    hidden = b"\x21\xff\x0bXMP DataXMP" + bytes((len(SECRET),)) + SECRET + b"\0"
    result = stripped(content[:-1] + hidden + content[-1:], GIF, NONE)
    assert result == stripped(content, GIF, NONE)


def test_an_unknown_chunk_of_a_webp_is_dropped() -> None:
    content = saved("WEBP")
    more = content[8:] + b"SECR" + struct.pack("<I", len(SECRET)) + SECRET
    result = stripped(b"RIFF" + struct.pack("<I", len(more)) + more, WEBP, NONE)
    assert result == stripped(content, WEBP, NONE)


@pytest.mark.parametrize("name", [b"tIME", b"tEXt", b"zTXt", b"seCr"])
def test_a_chunk_of_a_png_that_does_not_show_is_dropped(name: bytes) -> None:
    content = saved("PNG")
    more = content[:33] + chunk(name, SECRET) + content[33:]
    assert stripped(more, PNG, NONE) == stripped(content, PNG, NONE)


def test_xmp_of_a_png_that_is_packed_is_not_kept_as_it_is() -> None:
    content = saved("PNG")
    packed = zlib.compress(b"<x exif:GPSLatitude='1'/>")
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
    result = stripped(content[:33] + text + content[33:], PNG, Policy("xmp"))
    assert result is not None
    assert b"adobe" not in result
    assert packed not in result


def test_an_animated_png_keeps_its_frames() -> None:
    other = pil(scene(40, 30)).rotate(90)
    result = stripped(saved("PNG", save_all=True, append_images=[other]), PNG, NONE)
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert isinstance(image, PngImageFile)
        assert image.n_frames == 2


def test_every_page_of_a_tiff_is_stripped() -> None:
    page = pil(scene(40, 30)).rotate(90)
    page.encoderinfo = {}
    content = saved("TIFF", save_all=True, append_images=[page], description=SECRET.decode())
    assert content.count(SECRET) == 2
    result = stripped(content, TIFF, NONE)
    assert result is not None
    assert SECRET not in result


def test_a_box_of_an_avif_that_nobody_knows_is_left_to_the_encoder() -> None:
    content = saved("AVIF", speed=10)
    box = struct.pack(">I", 8 + 16 + len(SECRET)) + b"uuid" + bytes(16) + SECRET
    assert stripped(content, AVIF, NONE) is not None
    assert stripped(content + box, AVIF, NONE) is None


def an_image_with_all() -> pyvips.Image:
    image = scene(8, 8).copy()
    for name in TAGS:
        image.set_type(pyvips.GValue.gstr_type, name, "Secret")
    for name, packet in (("jpeg-thumbnail-data", SECRET), ("iptc-data", SECRET), ("xmp-data", XMP)):
        image.set_type(pyvips.GValue.blob_type, name, packet)
    return image


@pytest.mark.parametrize(
    ("keep", "left"),
    [("exif", TAGS[:1]), ("xmp", TAGS[:1]), ("all", TAGS[:2])],
)
def test_an_encoder_gets_the_place_only_with_all_and_a_thumbnail_never(
    keep: Keep, left: list[str]
) -> None:
    found = cleaned(an_image_with_all(), keep).get_fields()
    assert [name for name in (*TAGS, "jpeg-thumbnail-data") if name in found] == list(left)


def test_an_encoder_gets_xmp_without_the_place_unless_all_is_kept() -> None:
    image = an_image_with_all()
    assert b"GPS" not in cleaned(image, "xmp").get("xmp-data")
    assert b"dc:title" in cleaned(image, "xmp").get("xmp-data")
    assert cleaned(image, "all").get("xmp-data") == XMP


def test_packets_take_the_place_of_all_that_a_picture_had() -> None:
    packets = Packets(xmp=b"new", iptc=b"new")
    both = with_packets(an_image_with_all(), packets, iptc=True)
    assert (both.get("xmp-data"), both.get("iptc-data")) == (b"new", b"new")
    one = with_packets(an_image_with_all(), packets, iptc=False)
    assert (one.get("xmp-data"), one.get_typeof("iptc-data")) == (b"new", 0)


VALUES_OF_TAGS = st.tuples(
    st.sampled_from([0x0100, 0x010F, 0x0112, 0x011A, 0x0131, 0x8769, 0x8825, 0x927C, 0xA005]),
    st.integers(0, 14),
    st.integers(0, 5),
    st.binary(max_size=40),
)


@given(values=st.lists(VALUES_OF_TAGS, min_size=1, max_size=3, unique_by=lambda value: value[0]))
def test_exif_with_values_of_any_type_is_kept_or_dropped(
    values: list[tuple[int, int, int, bytes]],
) -> None:
    start = 8 + 2 + 12 * len(values) + 4
    exif, behind = struct.pack("<2sHIH", b"II", 42, 8, len(values)), b""
    for tag, kind, number, value in sorted(values):
        exif += struct.pack("<HHII", tag, kind, number, start + len(behind))
        behind += value
    kept = Image.Exif()
    kept.load(exif_without_position(exif + bytes(4) + behind))
    assert 0x8825 not in kept


def test_a_picture_is_not_turned_over_because_its_exif_cannot_be_kept() -> None:
    result = stripped(with_app1(b"no TIFF header"), JPEG, Policy("exif", 6))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.getexif()[0x0112] == 6


def test_exif_that_outgrows_its_segment_when_it_is_written_again_is_left_out() -> None:
    """Values of five bytes take six afterwards."""
    number = 3_800
    start = 8 + 2 + 12 * number + 4
    tags = [struct.pack("<HHII", 0xE000 + at, 2, 5, start + 5 * at) for at in range(number)]
    exif = struct.pack("<2sHIH", b"II", 42, 8, number) + b"".join(tags) + bytes(4)
    exif += b"text\0" * number
    assert len(exif_without_position(exif)) > 2**16
    assert stripped(with_app1(exif), JPEG, Policy("exif")) == stripped(saved("JPEG"), JPEG, NONE)


def test_what_the_directories_of_a_tiff_s_directories_point_to_is_blanked() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[27] = b"Secret place"
    exif.get_ifd(0x8769)[0x9286] = b"Secret comment"
    both = Image.Exif()
    both.load(exif.tobytes())
    content = saved("TIFF", exif=both)
    assert content.count(SECRET) == 2
    result = stripped(content, TIFF, NONE)
    assert result is not None
    assert SECRET not in result
