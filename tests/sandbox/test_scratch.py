import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

from batchmill.sandbox.scratch import Scratch, discard

LEAVE = """
import os, sys
from pathlib import Path
from batchmill.sandbox.scratch import Scratch
scratch = Scratch.open(Path(sys.argv[1]))
scratch.new("attempt").mkdir()
print(scratch.path, flush=True)
{end}
"""


def test_folder_of_a_dead_process_is_removed(tmp_path: Path) -> None:
    end = "os._exit(1)"
    done = subprocess.run(
        [sys.executable, "-c", LEAVE.format(end=end), tmp_path], capture_output=True, check=False
    )
    left = Path(done.stdout.decode().strip())
    assert left.is_dir()
    ours = Scratch.open(tmp_path)
    assert not left.exists()
    assert list(tmp_path.iterdir()) == [ours.path]
    ours.close()


def test_folder_of_a_living_process_stays(tmp_path: Path) -> None:
    living = Scratch.open(tmp_path)
    other = Scratch.open(tmp_path)
    assert living.path.is_dir()
    other.close()
    living.close()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    Scratch.open(tmp_path).close()
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_new_folders_have_different_names(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    assert len({scratch.new("attempt") for _ in range(10)}) == 10
    scratch.close()


def test_a_folder_that_is_just_being_made_is_not_taken_for_a_dead_ones(tmp_path: Path) -> None:
    door = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(door, fcntl.LOCK_EX)  # as a start does that has got as far as this:
    (tmp_path / "4711-abcd").mkdir()
    lock = os.open(tmp_path / "4711-abcd" / "lock", os.O_CREAT | os.O_RDWR)
    opened = []
    other = Thread(target=lambda: opened.append(Scratch.open(tmp_path)))
    other.start()
    other.join(0.5)  # time for it to look around, if nothing keeps it out
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(door)
    other.join()
    assert (tmp_path / "4711-abcd" / "lock").is_file()
    opened[0].close()
    os.close(lock)


def test_starts_in_the_same_instant_leave_each_other_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(12) as threads:
        opened = list(threads.map(Scratch.open, [tmp_path] * 12))
        assert all((scratch.path / "lock").is_file() for scratch in opened)
        list(threads.map(Scratch.close, opened))
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_does_no_harm(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    scratch.close()
    scratch.close()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_lent_again_has_no_files(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    first = scratch.lend()
    (first / "1-1" / "deep").mkdir(parents=True)
    (first / "1-1" / "deep" / "cat.jpg").touch()
    (first / "1-1" / "cat.jpg").touch()
    (first / "source").symlink_to(tmp_path)
    scratch.give_back(first)
    second = scratch.lend()
    assert second == first
    assert sorted(path.name for path in second.rglob("*")) == ["1-1"]
    scratch.close()


def test_folder_that_was_locked_is_not_lent_again(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    folder = scratch.lend()
    (folder / "1-1").mkdir(mode=0)
    scratch.give_back(folder)
    assert list(scratch.lend().iterdir()) == []
    scratch.close()


def test_folders_that_are_lent_at_once_differ(tmp_path: Path) -> None:
    scratch = Scratch.open(tmp_path)
    assert scratch.lend() != scratch.lend()
    scratch.close()


def test_discarding_does_not_follow_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    (outside / "cat.jpg").touch()
    folder = tmp_path / "folder"
    (folder / "locked").mkdir(parents=True)
    (folder / "link").symlink_to(outside)
    (folder / "locked").chmod(0)
    discard(folder)
    assert not folder.exists()
    assert (outside / "cat.jpg").exists()
    assert outside.stat().st_mode & 0o777 == 0o750
