"""What `describe` has found, in the files themselves; exiftool reads them as other programs do."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pyvips

from batchmill.local.process import process_batch_sync
from support import parts
from support.pictures import scene
from support.vision_server import VisionServer

DESCRIBED = {
    "title": 'Zwölf <Äpfel> & "Birnen"',
    "description": "Ein Korb voll Obst – frisch vom Baum.",
    "keywords": ["Äpfel", "Birnen", "Korb & Tisch"],
    "category": "Food",
    "alt_text": "Korb mit Obst auf einem Tisch",
}


@pytest.fixture
def described(vision: VisionServer) -> VisionServer:
    vision.right = DESCRIBED
    return vision


def exiftool() -> str:
    return parts.program("exiftool", part="exiftool")


def read(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [exiftool(), "-json", "-G1", "-struct", "-charset", "iptc=utf8", str(path)],
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)[0]


def captioned(folder: Path, source: Path, *steps: dict[str, Any]) -> Path:
    describe = {"use": "describe", "with": {"language": "de"}}
    pipeline = {"steps": [describe, *steps]}
    (item,) = process_batch_sync([source], pipeline, output_dir=folder / "out").items
    assert item.ok, item.error
    (made,) = item.files
    assert made.path is not None
    return made.path


@pytest.mark.parametrize("format_", ["jpeg", "png", "webp", "tiff", "avif"])
def test_every_format_carries_the_description(
    tmp_path: Path, described: VisionServer, format_: str
) -> None:
    scene(160, 120).write_to_file(str(tmp_path / "a.png"))

    made = captioned(
        tmp_path,
        tmp_path / "a.png",
        {"use": "convert", "with": {"format": format_}},
        {"use": "write_description"},
    )

    found = read(made)
    assert found["XMP-dc:Title"] == DESCRIBED["title"]
    assert found["XMP-dc:Description"] == DESCRIBED["description"]
    assert found["XMP-dc:Subject"] == DESCRIBED["keywords"]
    assert found["XMP-iptcCore:AltTextAccessibility"] == DESCRIBED["alt_text"]
    assert found["XMP-photoshop:SupplementalCategories"] == ["Food"]
    assert pyvips.Image.new_from_file(str(made)).width == 160


def test_jpeg_carries_iptc_too(tmp_path: Path, described: VisionServer) -> None:
    scene(160, 120).write_to_file(str(tmp_path / "a.jpg"))

    found = read(captioned(tmp_path, tmp_path / "a.jpg", {"use": "write_description"}))

    assert found["IPTC:ObjectName"] == DESCRIBED["title"]
    assert found["IPTC:Caption-Abstract"] == DESCRIBED["description"]
    assert found["IPTC:Keywords"] == DESCRIBED["keywords"]
    assert not [name for name in found if name.startswith(("ExifIFD:", "GPS:"))]


def test_a_step_after_it_does_not_lose_it(tmp_path: Path, described: VisionServer) -> None:
    scene(160, 120).write_to_file(str(tmp_path / "a.jpg"))
    convert = {"use": "convert", "with": {"format": "webp"}}

    made = captioned(tmp_path, tmp_path / "a.jpg", {"use": "write_description"}, convert)

    assert read(made)["XMP-dc:Title"] == DESCRIBED["title"]


def test_the_sources_own_description_goes(tmp_path: Path, described: VisionServer) -> None:
    source = tmp_path / "a.jpg"
    scene(160, 120).write_to_file(str(source))
    subprocess.run(
        [exiftool(), "-q", "-IPTC:By-line=Secret", "-XMP-dc:Creator=Secret", str(source)],
        check=True,
    )

    made = captioned(tmp_path, source, {"use": "write_description"})

    assert b"Secret" not in made.read_bytes()
    assert read(made)["XMP-dc:Title"] == DESCRIBED["title"]


def test_without_a_description_the_file_is_delivered_and_says_so(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    scene(160, 120).write_to_file(str(source))

    (item,) = process_batch_sync([source], {"steps": [{"use": "write_description"}]}).items

    assert item.warnings == ("there is no description to write; `describe` comes first",)
    assert item.files[0].content is not None


def test_the_preset_caption_describes_shrinks_and_writes(
    tmp_path: Path, described: VisionServer
) -> None:
    source = tmp_path / "a.jpg"
    scene(900, 600).write_to_file(str(source), Q=97)

    (item,) = process_batch_sync([source], "caption", output_dir=tmp_path / "out").items

    made = tmp_path / "out" / "a.jpg"
    assert item.data["title"] == DESCRIBED["title"]
    assert made.stat().st_size < source.stat().st_size
    assert read(made)["IPTC:ObjectName"] == DESCRIBED["title"]
