"""What other users of the machine may see of an installation: nothing."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from batchmill import private
from batchmill.api.compat import copy_to_folder
from batchmill.attempt.run import Finished
from batchmill.cli import doctor_checks
from batchmill.model.batch import BatchId
from batchmill.model.item import Claim, ItemId, Output, Result
from batchmill.settings.fields import Settings
from support.parts import missing
from support.pictures import scene
from support.sent import wait_for
from support.served import Server


@pytest.fixture(autouse=True)
def usual_mask() -> Iterator[None]:
    """Begin with the umask of most systems, which lets others read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Return everything in a folder, and itself, that others could use."""
    modes = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
    return {
        str(path.relative_to(folder)): oct(mode) for path, mode in modes.items() if mode & 0o077
    }


@dataclass(frozen=True)
class Reached:
    """A server as `wait_for` needs it."""

    client: httpx.Client


def send(client: httpx.Client) -> str:
    """Send a picture and leave an upload unfinished."""
    files = [("files", ("cat.jpg", scene(40, 40).jpegsave_buffer()))]
    head = {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
    assert client.post("/v1/uploads", headers=head).status_code == 201
    answer = client.post("/v1/batches", files=files, data={"pipeline": "web"})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def test_nothing_that_a_server_makes_is_open_to_others(tmp_path: Path) -> None:
    with Server(tmp_path) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        assert wait_for(Reached(client), send(client), 1)["status"] == "completed"
        made = {path.name for path in server.data_dir.iterdir()}
        assert made >= {"batchmill.sqlite3", "batchmill.sqlite3-wal", "storage", "uploads", "tmp"}
        assert open_to_others(server.data_dir) == {}


@pytest.mark.long
def test_a_storage_elsewhere_is_made_for_us_alone_but_left_as_it_was_made(tmp_path: Path) -> None:
    fresh, shared = tmp_path / "made/by/us", tmp_path / "shared"
    shared.mkdir(mode=0o755)
    for place in (fresh, shared):
        with (
            Server(tmp_path / f"for-{place.name}", BATCHMILL_STORAGE_URL=str(place)) as server,
            httpx.Client(base_url=server.url, timeout=60) as client,
        ):
            wait_for(Reached(client), send(client), 1)
    assert open_to_others(fresh) == {}
    assert open_to_others(shared) == {".": "0o40755"}


def test_the_data_folder_of_an_older_installation_is_closed_and_the_log_says_so(
    tmp_path: Path,
) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    with Server(tmp_path) as server:
        assert server.data_dir.stat().st_mode & 0o777 == 0o700
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (told,) = [line for line in lines if line["event"] == "data_folder.closed"]
    assert told["folder"] == str(server.data_dir)


def test_crops_that_are_handed_out_are_as_open_as_their_folder(tmp_path: Path) -> None:
    crop = tmp_path / "crop.jpg"
    crop.touch(mode=0o400)
    for mode in (0o755, 0o700):
        shared = tmp_path / f"{mode:o}"
        shared.mkdir()
        shared.chmod(mode)
        made = Output("photos/a.jpg", 0, "image/jpeg", "", 0)
        finished = Finished(Result((made,)), (crop,), tmp_path)
        copy_to_folder._copy(shared, Claim(ItemId("itm_1"), BatchId("bat_1"), 1), finished)
        file = shared / "bat_1/photos/a.jpg"
        assert file.stat().st_mode & 0o777 == mode & 0o666
        assert {each.stat().st_mode & 0o777 for each in file.parents[:2]} == {mode}


def test_doctor_warns_of_folders_that_others_may_read(tmp_path: Path) -> None:
    for name, mode in (("data", 0o755), ("store", 0o750), ("closed", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    open_to_all = Settings(data_dir=tmp_path / "data", storage_url=str(tmp_path / "store"))
    assert warned(open_to_all) == ["data folder", "storage"]
    assert warned(Settings(data_dir=tmp_path / "closed")) == []


def warned(settings: Settings) -> list[str]:
    found = [*doctor_checks.data_dir(settings), *doctor_checks.storage(settings)]
    return [each.name for each in found if "open to other users" in each.found]


def test_a_closed_folder_is_no_news(tmp_path: Path) -> None:
    assert not private.make_folder(tmp_path / "new")
    assert not private.make_folder(tmp_path / "new")


def test_a_folder_of_another_user_stays_as_it_is(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("another user")
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o775)
    os.chown(folder, 4242, 4242)
    assert not private.make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
