import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from batchmill.model.media import AVIF, GIF, HEIC, JPEG, PNG, TIFF, WEBP, MediaType
from batchmill.operations.images.codec.strip.file import stripped
from batchmill.operations.images.codec.strip.policy import MalformedError, Policy
from batchmill.operations.picture import Keep
from support.pictures import pil, scene
from support.ring import examples

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SECRET = b"Secret"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" exif:GPSLatitude="1" dc:title="Secret"/>'
NONE = Policy("none")


def _exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = SECRET.decode()
    exif[0x0112] = orientation
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


def _file(media: MediaType, orientation: int = 1) -> bytes:
    image, out = pil(scene(120, 80)), BytesIO()
    if media is JPEG:
        image.save(
            out, "JPEG", exif=_exif(orientation), xmp=XMP, icc_profile=PROFILE, comment=SECRET
        )
    elif media is PNG:
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", SECRET.decode())
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        image.save(out, "PNG", exif=_exif(orientation), pnginfo=text, icc_profile=PROFILE)
    elif media is WEBP:
        image.save(out, "WEBP", exif=_exif(orientation), xmp=XMP, icc_profile=PROFILE)
    elif media is AVIF:
        image.save(out, "AVIF", exif=_exif(), xmp=XMP, icc_profile=PROFILE, speed=10)
    elif media is TIFF:
        texts = {270: SECRET.decode(), 315: SECRET.decode(), 700: XMP}
        exif = Image.Exif()
        exif.load(_exif(orientation))
        exif.update(texts)
        image.save(out, "TIFF", exif=exif, icc_profile=PROFILE)
    else:
        frames = [image.quantize(16), image.rotate(90).quantize(16)]
        frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], comment=SECRET, loop=3)
    return out.getvalue()


ALL = (JPEG, PNG, WEBP, GIF, TIFF, AVIF)
KINDS = pytest.mark.parametrize("media", ALL, ids=lambda media: media.extension)


def _frames(content: bytes) -> list[bytes]:
    with Image.open(BytesIO(content)) as image:
        found = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(image.convert("RGBA").tobytes())
        return found


@KINDS
def test_what_people_wrote_is_gone_and_every_pixel_stays(media: MediaType) -> None:
    content = _file(media)
    assert SECRET in content
    result = stripped(content, media, NONE)
    assert result is not None
    assert SECRET not in result
    assert b"GPS" not in result
    assert len(result) <= len(content)
    assert _frames(result) == _frames(content)


@KINDS
def test_stripping_twice_is_stripping_once(media: MediaType) -> None:
    once = stripped(_file(media, orientation=6), media, Policy("none", 6))
    assert once is not None
    assert stripped(once, media, Policy("none", 6)) == once


@KINDS
def test_keeping_all_keeps_every_byte(media: MediaType) -> None:
    content = _file(media)
    assert stripped(content, media, Policy("all")) == content


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP], ids=lambda media: media.extension)
@pytest.mark.parametrize("keep", ["none", "icc", "exif", "xmp"])
def test_profile_and_orientation_stay_whatever_is_kept(media: MediaType, keep: Keep) -> None:
    result = stripped(_file(media, orientation=8), media, Policy(keep, 8))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[0x0112] == 8


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP], ids=lambda media: media.extension)
def test_kept_exif_says_nothing_of_the_place(media: MediaType) -> None:
    result = stripped(_file(media), media, Policy("exif"))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.getexif()[0x010F] == SECRET.decode()
        assert image.getexif().get_ifd(0x8825) == {}
    assert b"xmpmeta" not in result


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP], ids=lambda media: media.extension)
def test_kept_xmp_says_nothing_of_the_place(media: MediaType) -> None:
    result = stripped(_file(media), media, Policy("xmp"))
    assert result is not None
    assert b"dc:title" in result
    assert b"GPS" not in result


def test_an_animation_keeps_its_loops(tmp_path: Path) -> None:
    result = stripped(_file(GIF), GIF, NONE)
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.info["loop"] == 3


def test_what_follows_the_end_of_a_jpeg_is_dropped() -> None:
    content = _file(JPEG)
    plain = stripped(content, JPEG, NONE)
    assert stripped(content + b"\x00\x00ftypmp42 a film of somebody", JPEG, NONE) == plain


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xE0, 0xEF, 0xFE])
def test_application_segments_of_any_kind_are_dropped(marker: int) -> None:
    content = _file(JPEG)
    body = b"http://ns.adobe.com/xmp/extension/\x00 Secret"
    segment = struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
    more = content[:2] + segment + content[2:]
    assert stripped(more, JPEG, NONE) == stripped(content, JPEG, NONE)


def test_progressive_scans_are_all_kept() -> None:
    out = BytesIO()
    pil(scene(120, 80)).save(out, "JPEG", progressive=True, exif=_exif(), restart_marker_blocks=4)
    result = stripped(out.getvalue(), JPEG, NONE)
    assert result is not None
    assert result.count(b"\xff\xda") == out.getvalue().count(b"\xff\xda")
    assert _frames(result) == _frames(out.getvalue())


def test_a_tiff_directory_is_blanked_with_all_it_points_to() -> None:
    result = stripped(_file(TIFF, orientation=3), TIFF, NONE)
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.getexif()[0x0112] == 3
        assert image.info["icc_profile"] == PROFILE
        assert isinstance(image, TiffImageFile)
        assert not {270, 271, 315, 700, 34853} & set(image.tag_v2)


def test_kept_exif_of_a_tiff_says_nothing_of_the_place() -> None:
    result = stripped(_file(TIFF), TIFF, Policy("exif"))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert isinstance(image, TiffImageFile)
        assert image.tag_v2[271] == SECRET.decode()
        assert 34853 not in image.tag_v2


def test_a_blanked_avif_still_shows_its_profile_and_no_tags() -> None:
    result = stripped(_file(AVIF), AVIF, NONE)
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.info["icc_profile"] == PROFILE
        assert dict(image.getexif()) == {}


@pytest.mark.parametrize(("media", "keep"), [(TIFF, "xmp"), (AVIF, "exif"), (AVIF, "xmp")])
def test_what_cannot_be_kept_apart_is_left_to_the_encoder(media: MediaType, keep: Keep) -> None:
    assert stripped(_file(media), media, Policy(keep)) is None


def test_types_that_cannot_be_stripped_say_so() -> None:
    assert stripped(b"anything", HEIC, NONE) is None


@KINDS
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_damage_never_raises_anything_but_malformed(media: MediaType, data: st.DataObject) -> None:
    content = bytearray(_FILES[media])
    end = data.draw(st.integers(12, len(content)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = stripped(bytes(content[:end]), media, NONE)
    except MalformedError:
        return
    assert result is None or len(result) <= end + 1  # one byte may even a WebP chunk out


_FILES = {media: _file(media) for media in ALL}


@pytest.mark.parametrize(
    "media", [each for each in ALL if each is not TIFF], ids=lambda media: media.extension
)
def test_a_file_that_breaks_off_is_malformed(media: MediaType) -> None:
    content = _file(media)
    with pytest.raises(MalformedError):
        stripped(content[: len(content) // 2], media, NONE)


def test_a_segment_that_claims_to_be_longer_than_the_file_is_malformed() -> None:
    content = b"\xff\xd8\xff\xe1" + struct.pack(">H", 60_000) + b"Exif\x00\x00"
    with pytest.raises(MalformedError):
        stripped(content, JPEG, NONE)
