"""How a file of this machine comes into an attempt's folder."""

from pathlib import Path

from batchmill.attempt.staging import link_or_copy
from support import parts


def test_a_file_of_the_same_disk_is_linked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").samefile(tmp_path / "b")


@parts.linux_only
def test_a_file_of_another_disk_is_copied(tmp_path: Path) -> None:
    link_or_copy(Path("/proc/version"), tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == Path("/proc/version").read_bytes()


def test_a_link_to_a_link_is_staged_as_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"body")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "near").symlink_to("../a")
    (tmp_path / "far").symlink_to("folder/near")
    link_or_copy(tmp_path / "far", tmp_path / "b")
    assert not (tmp_path / "b").is_symlink()
    assert (tmp_path / "b").read_bytes() == b"body"
