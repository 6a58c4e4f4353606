import struct
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from batchmill.model.media import AVIF, GIF, JPEG, PNG, TIFF, WEBP, MediaType
from batchmill.operations.strip import MalformedError, Policy, stripped
from support.pictures import pil, scene

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
    else:
        frames = [image.quantize(16), image.rotate(90).quantize(16)]
        frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], comment=SECRET, loop=3)
    return out.getvalue()


KINDS = pytest.mark.parametrize("media", [JPEG, PNG, WEBP, GIF], ids=lambda media: media.extension)


def _frames(content: bytes) -> list[bytes]:
    with Image.open(BytesIO(content)) as image:
        found = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(image.convert("RGBA").tobytes())
        return found


@KINDS
def test_what_people_wrote_is_gone_and_every_pixel_stays(media: MediaType):
    content = _file(media)
    assert SECRET in content
    result = stripped(content, media, NONE)
    assert result is not None
    assert SECRET not in result
    assert b"GPS" not in result
    assert len(result) < len(content)
    assert _frames(result) == _frames(content)


@KINDS
def test_stripping_twice_is_stripping_once(media: MediaType):
    once = stripped(_file(media, orientation=6), media, Policy("none", 6))
    assert once is not None
    assert stripped(once, media, Policy("none", 6)) == once


@KINDS
def test_keeping_all_keeps_every_byte(media: MediaType):
    content = _file(media)
    assert stripped(content, media, Policy("all")) == content


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP], ids=lambda media: media.extension)
@pytest.mark.parametrize("keep", ["none", "icc", "exif", "xmp"])
def test_profile_and_orientation_stay_whatever_is_kept(media: MediaType, keep: str):
    result = stripped(_file(media, orientation=8), media, Policy(keep, 8))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.info["icc_profile"] == PROFILE
        assert image.getexif()[0x0112] == 8


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP], ids=lambda media: media.extension)
def test_kept_exif_says_nothing_of_the_place(media: MediaType):
    result = stripped(_file(media), media, Policy("exif"))
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.getexif()[0x010F] == SECRET.decode()
        assert image.getexif().get_ifd(0x8825) == {}
    assert b"xmpmeta" not in result


@pytest.mark.parametrize("media", [JPEG, PNG, WEBP], ids=lambda media: media.extension)
def test_kept_xmp_says_nothing_of_the_place(media: MediaType):
    result = stripped(_file(media), media, Policy("xmp"))
    assert result is not None
    assert b"dc:title" in result
    assert b"GPS" not in result


def test_an_animation_keeps_its_loops(tmp_path):
    result = stripped(_file(GIF), GIF, NONE)
    assert result is not None
    with Image.open(BytesIO(result)) as image:
        assert image.info["loop"] == 3


def test_what_follows_the_end_of_a_jpeg_is_dropped():
    content = _file(JPEG)
    plain = stripped(content, JPEG, NONE)
    assert stripped(content + b"\x00\x00ftypmp42 a film of somebody", JPEG, NONE) == plain


def test_progressive_scans_are_all_kept():
    out = BytesIO()
    pil(scene(120, 80)).save(out, "JPEG", progressive=True, exif=_exif(), restart_marker_blocks=4)
    result = stripped(out.getvalue(), JPEG, NONE)
    assert result is not None
    assert result.count(b"\xff\xda") == out.getvalue().count(b"\xff\xda")
    assert _frames(result) == _frames(out.getvalue())


@pytest.mark.parametrize("media", [TIFF, AVIF], ids=lambda media: media.extension)
def test_formats_that_cannot_be_stripped_say_so(media: MediaType):
    assert stripped(b"anything", media, NONE) is None


@KINDS
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_never_raises_anything_but_malformed(media: MediaType, data: st.DataObject):
    content = bytearray(_FILES[media])
    end = data.draw(st.integers(12, len(content)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MalformedError):
        stripped(bytes(content[:end]), media, NONE)


_FILES = {media: _file(media) for media in (JPEG, PNG, WEBP, GIF)}


@KINDS
def test_a_file_that_breaks_off_is_malformed(media: MediaType):
    content = _file(media)
    with pytest.raises(MalformedError):
        stripped(content[: len(content) // 2], media, NONE)


def test_a_segment_that_claims_to_be_longer_than_the_file_is_malformed():
    content = b"\xff\xd8\xff\xe1" + struct.pack(">H", 60_000) + b"Exif\x00\x00"
    with pytest.raises(MalformedError):
        stripped(content, JPEG, NONE)
