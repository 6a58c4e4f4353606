"""Camera RAW: told from TIFF, held against the limits unopened, developed only as far as needed."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import pyvips

from batchmill.model import containers, media
from batchmill.model.limits import Limits
from batchmill.model.media import SNIFF_BYTES, MediaType
from batchmill.operations.contract import Source
from batchmill.operations.images.codec.decode import load
from batchmill.operations.images.codec.on_demand import on_demand
from support.camera_raw import write_dng
from support.pictures import Steps, difference, made, outputs, refused, run, scene

TO_PNG: Steps = [("convert", {"format": "png"})]
SMALL: Steps = [("resize", {"width": 100}), ("convert", {"format": "png"})]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a DNG of 320 × 200 pixels whose corner is white, as the brightness is stretched."""
    path = tmp_path / "in.dng"
    write_dng(path, bright_scene())
    return path


def bright_scene() -> pyvips.Image:
    return scene(320, 200, grain=0).draw_rect([255, 255, 255], 260, 140, 60, 60, fill=True)


def identified(content: bytes) -> MediaType | None:
    return containers.identify(io.BytesIO(content))


# ---------------------------------------------------------------- what kind of file


@pytest.mark.parametrize("big", [False, True])
def test_a_dng_is_no_plain_tiff(tmp_path: Path, big: bool) -> None:
    write_dng(tmp_path / "in.tiff", scene(64, 48), big=big)
    assert identified((tmp_path / "in.tiff").read_bytes()) is media.DNG


def test_a_tiff_stays_a_tiff(tmp_path: Path) -> None:
    scene(64, 48).tiffsave(tmp_path / "in.dng")
    assert identified((tmp_path / "in.dng").read_bytes()) is media.TIFF


@pytest.mark.parametrize(
    ("start", "type_"),
    [
        (b"II*\0\x10\0\0\0CR\x02\0", media.CR2),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", media.CR3),
        (b"FUJIFILMCCD-RAW 0201FF129502X-T3", media.RAF),
        (b"IIRO\x08\0\0\0", media.ORF),
        (b"IIRS\x08\0\0\0", media.ORF),
        (b"MMOR\0\0\0\x08", media.ORF),
        (b"IIU\0\x18\0\0\0", media.RW2),
    ],
)
def test_a_camera_is_told_by_the_first_bytes(start: bytes, type_: MediaType) -> None:
    assert identified(start + bytes(200)) is type_


@pytest.mark.parametrize(
    ("maker", "type_"),
    [
        (b"NIKON CORPORATION\0", media.NEF),
        (b"SONY\0", media.ARW),
        (b"PENTAX\0", media.PEF),
        (b"RICOH IMAGING COMPANY, LTD.\0", media.PEF),
        (b"SAMSUNG\0", media.SRW),
        (b"Hasselblad\0", media.OTHER_RAW),
    ],
)
def test_a_tiff_with_a_sensors_pixels_is_named_after_its_maker(
    maker: bytes, type_: MediaType
) -> None:
    assert identified(_tiff_with_a_sensor_below(maker)) is type_


def test_a_tiff_of_a_camera_with_a_pictures_pixels_stays_a_tiff() -> None:
    assert identified(_tiff_with_a_sensor_below(b"NIKON CORPORATION\0", kind=2)) is media.TIFF


def test_damaged_directories_are_left_out() -> None:
    whole = _tiff_with_a_sensor_below(b"SONY\0")
    for end in range(8, len(whole)):
        assert identified(whole[:end]) in {media.TIFF, media.ARW}
    looping = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 330, 4, 1, 8, 8)
    assert identified(looping) is media.TIFF


def _tiff_with_a_sensor_below(maker: bytes, kind: int = 32803) -> bytes:
    """Return a TIFF as cameras write it: a preview above, the sensor's pixels below it."""
    above = 8 + 2 + 3 * 12 + 4
    below = above + len(maker)
    head = struct.pack("<2sHIH", b"II", 42, 8, 3)
    entries = struct.pack("<HHII", 254, 4, 1, 1) + struct.pack("<HHII", 271, 2, len(maker), above)
    entries += struct.pack("<HHII", 330, 4, 1, below)
    return head + entries + bytes(4) + maker + struct.pack("<HHHIII", 1, 262, 3, 1, kind, 0)


# ---------------------------------------------------------------- what comes out


def test_a_dng_looks_like_what_stood_before_the_camera(photo: Path) -> None:
    result = made(photo, TO_PNG)
    assert (result.width, result.height, result.bands) == (320, 200, 3)
    assert difference(result, bright_scene()) < 6


def test_a_small_picture_comes_from_half_the_size(photo: Path) -> None:
    half = load(_source(photo), Limits(), shrink=2)
    assert (half.width, half.height) == (160, 100)
    assert difference(made(photo, SMALL), bright_scene().resize(100 / 320)) < 6


def test_odd_sides_are_halved_upwards(tmp_path: Path) -> None:
    write_dng(tmp_path / "in.dng", scene(321, 201))
    half = load(_source(tmp_path / "in.dng"), Limits(), shrink=2)
    assert (half.width, half.height) == (161, 101)
    assert half.avg() > 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("steps", [TO_PNG, SMALL])
def test_a_turned_camera_gives_an_upright_picture(
    tmp_path: Path, orientation: int, steps: Steps
) -> None:
    path = tmp_path / "in.dng"
    picture = bright_scene()
    write_dng(path, picture, orientation=orientation)
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    upright = picture.autorot()
    result = made(path, steps)
    assert difference(result, upright.resize(result.width / upright.width)) < 7


def test_compress_writes_a_jpeg(photo: Path) -> None:
    report = run(photo, [("compress", {})])
    assert [(row.name, row.media_type) for row in report.outputs] == [("in.jpg", "image/jpeg")]
    assert not report.warnings


def test_two_steps_that_read_the_pixels_get_the_same(photo: Path) -> None:
    report = run(photo, [("placeholder", {}), *SMALL])
    assert report.error is None
    assert outputs(photo, report)


# ---------------------------------------------------------------- limits and damage


@pytest.mark.parametrize("share", [0.99, 0.5, 0.1])
@pytest.mark.parametrize("steps", [TO_PNG, SMALL])
def test_a_raw_file_that_breaks_off_is_refused(photo: Path, share: float, steps: Steps) -> None:
    content = photo.read_bytes()
    photo.write_bytes(content[: int(len(content) * share)])
    assert refused(photo, steps) == "unreadable_file"


@pytest.mark.parametrize(
    "start",
    [
        b"FUJIFILMCCD-RAW 0201FF129502X-T3".ljust(100, b"\0") + struct.pack(">2I", 500, 9_000),
        b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + struct.pack(">I4s", 9_000, b"mdat"),
        b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom" + struct.pack(">I4sQ", 1, b"mdat", 9_000),
    ],
    ids=["raf", "cr3", "cr3 with a long size"],
)
def test_a_part_that_ends_behind_the_file_is_missed_at_once(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "in.raw").write_bytes(start.ljust(SNIFF_BYTES, b"\0"))
    report = run(tmp_path / "in.raw", TO_PNG)
    assert report.error
    assert report.error.message.endswith("it ends too early, a part of the file is missing")


@pytest.mark.parametrize(
    "start", [b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"II*\0\x10\0\0\0CR\x02\0"]
)
def test_what_libraw_can_not_read_is_unreadable(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "in.raw").write_bytes(start.ljust(SNIFF_BYTES, b"\xa5"))
    assert refused(tmp_path / "in.raw", TO_PNG) == "unreadable_file"


@pytest.mark.parametrize("limits", [Limits(pixels=319 * 200), Limits(side_px=300)])
def test_a_raw_file_over_a_limit_is_refused_without_developing_it(
    photo: Path, limits: Limits
) -> None:
    content = bytearray(photo.read_bytes())
    content[-1000:] = bytes(1000)
    assert refused(photo, TO_PNG, limits=limits) == "too_many_pixels"


def test_a_raw_file_for_which_there_is_no_memory_says_so(tmp_path: Path) -> None:
    write_dng(tmp_path / "in.dng", scene(3000, 2000))
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "import rawpy, batchmill.operations.images.codec.encode\n"
        "from support.pictures import refused\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)\n"
        "print(refused(Path(sys.argv[1]), [('convert', {'format': 'png'})]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "in.dng")]
    tests = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)
    assert done.stdout == "out_of_memory\n", done.stderr


def test_nothing_is_made_before_somebody_looks() -> None:
    asked = []

    def make() -> memoryview:
        asked.append(1)
        return memoryview(bytes([10, 20, 30] * 12))

    picture = on_demand((4, 3), make)
    assert (picture.width, picture.height, picture.bands, asked) == (4, 3, 3, [])
    assert picture.copy_memory()(3, 2) == [10, 20, 30]
    assert asked == [1]


def test_what_can_not_be_made_reads_as_broken_off() -> None:
    def make() -> memoryview:
        raise ValueError("no pixels")

    with pytest.raises(pyvips.Error, match="Read error"):
        on_demand((4, 3), make).avg()


def _source(path: Path) -> Source:
    return Source(path=path, name=path.name, media=media.DNG, bytes=path.stat().st_size)
