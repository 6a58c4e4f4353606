"""Settings of the dialects do what they say: a server with another value behaves otherwise."""

from pathlib import Path
from typing import Any

import pytest

from batchmill.api.compat.dialects import family_rules
from batchmill.errors.request import UsageError
from batchmill.settings import loading
from batchmill.settings.compat import (
    DocumentsSettings,
    ImagesSettings,
    PhotosSettings,
    SequentialSettings,
)
from batchmill.settings.fields import Settings
from support import whole_server
from support.pictures import scene


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    scene(120, 80).pngsave(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    ("settings", "address", "field", "name"),
    [
        (
            {"sequential": SequentialSettings(files_per_batch=1)},
            "/api/sequential-batch/submit",
            "files",
            "a.png",
        ),
        (
            {"documents": DocumentsSettings(files_per_batch=1)},
            "/api/batch/upload",
            "file",
            "a.csv",
        ),
    ],
    ids=["sequential", "documents"],
)
def test_a_batch_has_no_more_files_than_the_setting_says(
    tmp_path: Path, picture: bytes, *, settings: Any, address: str, field: str, name: str
) -> None:
    body = picture if name.endswith("png") else b"a,b\n1,2\n"
    with whole_server.running(tmp_path / "server", with_worker=False, **settings) as server:
        one = server.client.post(address, files=[(field, (name, body))])
        two = server.client.post(address, files=[(field, (name, body))] * 2)

    assert one.is_success, one.text
    assert two.status_code == 400, two.text
    assert "exactly 1 file" in two.text


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("detect_pix=512", "face_crop has no option 'detect_pix'. Did you mean 'detect_px'?"),
        ("detect_px=9", "face_crop: detect_px can't be '9'; it must be a whole number from 128 "),
        ("detect_px", "face_crop: detect_px can't be ''; it must be a whole number from 128 "),
    ],
)
def test_a_wrong_option_for_every_photo_is_refused_at_start(option: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        family_rules(Settings(photos=PhotosSettings(options=(option,))))

    assert caught.value.message.startswith(f"BATCHMILL_PHOTOS_OPTIONS: {sentence}")


@pytest.mark.parametrize("name", ["zip", "pdf", "svg", "jpegg"])
def test_a_format_that_cannot_be_read_is_refused_at_start(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        family_rules(loading.load({"SUPPORTED_FORMATS": f"jpeg,{name}"}))

    assert caught.value.message.startswith(
        f"SUPPORTED_FORMATS has '{name}', which is no format that can be read; known are arw, avif,"
    )
    with pytest.raises(UsageError, match="at least one format"):
        family_rules(loading.load({"SUPPORTED_FORMATS": ","}))


def test_a_format_is_known_by_its_extensions_too(tmp_path: Path, picture: bytes) -> None:
    scene(20, 20).jpegsave(tmp_path / "a.jpg")
    photo = (tmp_path / "a.jpg").read_bytes()
    images = ImagesSettings(formats=("JPG", "tif"))
    with whole_server.running(tmp_path / "server", with_worker=False, images=images) as server:
        statuses = [
            server.client.post("/api/process/single", files={"image": ("a.jpg", sent)}).status_code
            for sent in (photo, picture)
        ]

    assert statuses == [200, 415]


def test_the_box_the_quality_and_the_window_of_images_are_the_settings(
    tmp_path: Path, picture: bytes
) -> None:
    images = ImagesSettings(
        width_px=50, height_px=40, quality=33, rate_requests=1, rate_window_ms=5_000
    )
    with whole_server.running(tmp_path / "server", with_worker=False, images=images) as server:
        sent = [
            server.client.post("/api/process/single", files={"image": ("a.png", picture)})
            for _ in range(2)
        ]
        (batch,) = server.client.get("/v1/batches").json()["data"]

    options = {step["use"]: step["with"] for step in batch["pipeline"]["steps"]}
    assert (options["resize"]["width"], options["resize"]["height"]) == (50, 40)
    assert options["convert"]["quality"] == 33
    assert sent[1].status_code == 429
    assert int(sent[1].headers["retry-after"]) <= 5


def test_open_uploads_lie_in_the_folder_that_is_set(tmp_path: Path) -> None:
    with whole_server.running(
        tmp_path / "server", with_worker=False, uploads_dir=tmp_path / "elsewhere"
    ) as server:
        answer = server.client.post(
            "/v1/uploads",
            headers={"Tus-Resumable": "1.0.0", "Upload-Length": "5"},
        )
        lying = sorted(path.name for path in (tmp_path / "elsewhere").iterdir())

    assert answer.status_code == 201, answer.text
    assert any(name.startswith(answer.headers["location"].rpartition("/")[2]) for name in lying)
