"""`batchmill run`, as a process of its own on real files."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Run
from support import documents, parts
from support.environment import environment
from support.pictures import scene


def tree(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WEB = ["a.webp", "b.webp", "c.webp", "summer/d.webp", "summer/e.webp"]


def test_a_folder_becomes_a_folder_of_the_same_tree(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    done = batchmill("run", "web", photos, "-o", "out")

    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == WEB
    assert done.stdout == ""
    assert "5 files in" in done.stderr


def test_only_the_folder_itself_is_read_when_told_so(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    batchmill("run", "web", photos, "-o", "out", "-R")

    assert tree(tmp_path / "out") == WEB[:3]


def test_an_archive_is_read_entry_by_entry(batchmill: Run, photos: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)

    done = batchmill("run", "web", archive, "-o", "out")

    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == WEB


def test_an_archive_in_a_folder_becomes_a_folder(batchmill: Run, tmp_path: Path) -> None:
    scene(64, 64).write_to_file(str(tmp_path / "a.png"))
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "pack.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "deep/a.png")
        archive.write(tmp_path / "a.png", "deep/a.png")
        archive.writestr("__MACOSX/deep/._a.png", b"junk")

    batchmill("run", "web", "in", "-o", "out")

    assert tree(tmp_path / "out") == ["pack/deep/a-2.webp", "pack/deep/a.webp"]


def test_a_damaged_archive_fails_alone(batchmill: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.zip").write_bytes(b"PK\x03\x04 and then nothing")

    done = batchmill("run", "web", photos, "-o", "out")

    assert done.returncode == 1
    assert tree(tmp_path / "out") == WEB
    assert "broken.zip cannot be used as a ZIP archive" in done.stderr


def test_a_pattern_keeps_the_tree_below_its_fixed_part(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    batchmill("run", "web", "photos/**/*.png", "-o", "out")

    assert tree(tmp_path / "out") == ["a.webp", "c.webp", "summer/d.webp"]


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_paths_are_read_from_stdin(batchmill: Run, photos: Path, tmp_path: Path, end: str) -> None:
    listed = end.join(["photos/a.png", "photos/summer/d.png", ""])

    done = batchmill("run", "web", "-", "-o", "out", stdin=listed)

    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == ["photos/a.webp", "photos/summer/d.webp"]


def test_a_file_of_another_kind_is_left_out_of_a_folder_but_fails_when_named(
    batchmill: Run, photos: Path
) -> None:
    (photos / "notes.txt").write_text("Nothing but words, and a full stop.\n")

    found = batchmill("run", "web", photos, "-o", "out")
    named = batchmill("run", "web", photos / "notes.txt", "-o", "out2")

    assert found.returncode == 0
    assert "1 skipped (unsupported)" in found.stderr
    assert named.returncode == 1
    assert "notes.txt is text/plain" in named.stderr


def test_json_gives_one_line_a_file_on_stdout(batchmill: Run, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")

    done = batchmill("run", "web", photos, "-o", "out", "--json", "--quiet")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert done.stderr == ""
    assert {line["custom_id"]: line["status"] for line in lines} == {
        "a.png": "completed",
        "b.jpg": "completed",
        "bad.jpg": "failed",
        "c.png": "completed",
        "summer/d.png": "completed",
        "summer/e.jpg": "completed",
    }
    fields = {"custom_id", "item_id", "status", "input", "outputs", "data", "error", "attempts"}
    assert all(fields | {"timings"} <= line.keys() for line in lines)
    one = next(line for line in lines if line["custom_id"] == "a.png")
    assert (one["outputs"][0]["width"], one["outputs"][0]["type"]) == (120, "image/webp")
    outputs = [output for line in lines for output in line["outputs"]]
    assert [output["sha256"] for output in outputs] == [
        hashlib.sha256(Path(photos.parent, output["path"]).read_bytes()).hexdigest()
        for output in outputs
    ]


def test_what_is_found_out_goes_to_stdout_or_into_a_file(batchmill: Run, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("name,price\n" + "apple,3\npear,4\n" * 20)

    told = batchmill("run", "analyze", "prices.csv", "--json")
    saved = batchmill("run", "analyze", "prices.csv", "-o", "out")

    assert (told.returncode, saved.returncode) == (0, 0)
    data = json.loads(told.stdout)["data"]
    assert data
    assert tree(tmp_path / "out") == ["prices.csv.json"]
    assert json.loads((tmp_path / "out" / "prices.csv.json").read_text()).keys() == data.keys()


def test_what_is_told_about_a_file_is_no_smaller_copy_of_it(batchmill: Run, tmp_path: Path) -> None:
    (tmp_path / "menu.pdf").write_bytes(documents.pdf(documents.line_of_text("soup")))

    done = batchmill("run", "analyze", "menu.pdf", "-o", "out")

    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"1 file in .* s: 1 done; [\d.,]+ k?B made\.", last), last
    assert "%" not in done.stderr


def test_the_table_shows_before_and_after_and_ends_for_long_batches(
    batchmill: Run, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(23):
        scene(24, 24).write_to_file(str(tmp_path / "in" / f"{number:02}.png"))

    done = batchmill("run", "web", "in", "-o", "out")

    assert len(re.findall(r"^\d\d\.png .* s$", done.stderr, re.MULTILINE)) == 20
    assert "… and 3 more" in done.stderr
    assert done.stderr.splitlines()[0].split() == ["file", "before", "after", "saved", "time"]


# ------------------------------------------------------------ pipelines and names


def test_format_quality_options_and_names_can_be_changed(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    done = batchmill(
        *("run", "web", photos / "a.png", "-o", "out", "-f", "jpeg", "-q", "30"),
        *("--set", "resize.width=60", "--name", "{stem}-{w}x{h}.{ext}", "--json"),
    )

    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == ["a-60x40.jpg"]


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_pipeline_may_be_a_file(
    batchmill: Run, photos: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "mine.toml").write_text('[[steps]]\nuse = "resize"\nwith = { width = 30 }\n')
    (tmp_path / "mine.json").write_text('{"steps": [{"use": "resize", "with": {"width": 30}}]}')

    done = batchmill("run", f"mine.{suffix}", photos / "a.png", "-o", "out", "--json")

    assert json.loads(done.stdout)["outputs"][0]["width"] == 30


def test_inputs_of_one_name_get_different_results_which_is_said(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    scene(50, 50).write_to_file(str(photos / "a.jpg"))

    done = batchmill("run", "web", photos, "-o", "out")

    assert {"a.webp", "a-2.webp"} <= set(tree(tmp_path / "out"))
    assert "a.webp is the result of another file; that of a.png is a-2.webp" in done.stderr


# ------------------------------------------------------------ what exists


def test_existing_results_are_neither_overwritten_nor_ignored(batchmill: Run, photos: Path) -> None:
    batchmill("run", "web", photos, "-o", "out")
    scene(60, 60).write_to_file(str(photos / "new.png"))

    again = batchmill("run", "web", photos, "-o", "out")

    assert again.returncode == 2
    assert "5 of 6 results exist already" in again.stderr


def test_skip_existing_does_only_what_is_missing(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    scene(50, 50).write_to_file(str(photos / "a.jpg"))
    batchmill("run", "web", photos, "-o", "out")
    (tmp_path / "out" / "a-2.webp").unlink()
    (tmp_path / "out" / "summer" / "d.webp").unlink()

    done = batchmill("run", "web", photos, "-o", "out", "--skip-existing", "--json")

    made = sorted(json.loads(line)["custom_id"] for line in done.stdout.splitlines())
    assert made == ["a.png", "summer/d.png"]
    assert "4 results existed" in done.stderr


def test_overwrite_makes_everything_again(batchmill: Run, photos: Path, tmp_path: Path) -> None:
    batchmill("run", "web", photos, "-o", "out")
    (tmp_path / "out" / "a.webp").write_bytes(b"old")

    done = batchmill("run", "web", photos, "-o", "out", "--overwrite")

    assert done.returncode == 0
    assert tree(tmp_path / "out") == WEB
    assert (tmp_path / "out" / "a.webp").stat().st_size > 3


def test_an_output_folder_inside_the_input_is_not_read(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    batchmill("run", "web", "photos", "-o", "photos/out")
    done = batchmill("run", "web", "photos", "-o", "photos/out", "--overwrite")

    assert "5 files in" in done.stderr
    assert tree(photos / "out") == WEB


# ------------------------------------------------------------ plans and samples


def test_a_dry_run_makes_nothing(batchmill: Run, photos: Path, tmp_path: Path) -> None:
    done = batchmill("run", "web", photos, "-o", "out", "-n")
    as_json = batchmill("run", "web", photos, "-o", "out", "-n", "--json")

    assert done.returncode == 0
    assert "resize → convert" in done.stdout
    assert "5 files" in done.stdout
    assert json.loads(as_json.stdout)["files"] == 5
    assert not (tmp_path / "out").exists()


def test_a_sample_tells_what_the_whole_would_take(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    done = batchmill("run", "web", photos, "-o", "out", "--sample", "2")

    assert len(tree(tmp_path / "out")) == 2
    assert "All 5 files would take about" in done.stderr


# ------------------------------------------------------------ giving up and going on


def test_resume_leaves_out_what_is_done_and_unchanged(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    run = ("run", "web", photos, "-o", "out", "--joblog", "log.jsonl", "--json")
    batchmill(*run)
    scene(99, 99).write_to_file(str(photos / "a.png"))
    os.utime(photos / "b.jpg", (1, 1))
    (tmp_path / "out" / "c.webp").unlink()

    done = batchmill(*run, "--resume")

    assert done.returncode == 0, done.stderr
    made = sorted(json.loads(line)["custom_id"] for line in done.stdout.splitlines())
    assert made == ["a.png", "c.png"]
    assert tree(tmp_path / "out") == WEB


def test_resuming_makes_again_what_a_kill_left_unnoted(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    scene(50, 50).write_to_file(str(photos / "a.jpg"))
    run = ("run", "web", photos, "-o", "out", "--joblog", "log.jsonl", "--json")
    batchmill(*run)
    lines = (tmp_path / "log.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["custom_id"] != "a.png"]
    (tmp_path / "log.jsonl").write_text("".join(kept))

    done = batchmill(*run, "--resume")

    (line,) = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, line["status"]) == (0, "completed")
    assert line["outputs"][0]["name"] == "a-2.webp"


def test_resuming_never_replaces_an_input(batchmill: Run, photos: Path) -> None:
    run = ("run", "compress", photos, "-o", photos, "--joblog", "log.jsonl")
    (photos.parent / "log.jsonl").write_text("")
    before = (photos / "a.png").read_bytes()
    empty = batchmill(*run, "--resume")
    batchmill("run", "web", photos / "c.png", "-o", photos, "--joblog", "log.jsonl")
    noted = batchmill(*run, "--resume")

    assert empty.returncode == noted.returncode == 2
    assert "exist already" in noted.stderr
    assert (photos / "a.png").read_bytes() == before


def test_another_pipeline_is_not_resumed(batchmill: Run, photos: Path) -> None:
    run = ("run", "web", photos, "-o", "out", "--joblog", "log.jsonl", "--json")
    batchmill(*run)

    done = batchmill(*run, "--resume", "-q", "33")

    assert len(done.stdout.splitlines()) == 5


def test_failed_files_are_tried_again_only_when_asked(batchmill: Run, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    run = ("run", "web", photos, "-o", "out", "--joblog", "log.jsonl", "--json")
    batchmill(*run)

    resumed = batchmill(*run, "--resume")
    again = batchmill(*run, "--resume-failed")

    assert (resumed.returncode, resumed.stdout) == (1, "")
    assert again.returncode == 1
    assert [json.loads(line)["custom_id"] for line in again.stdout.splitlines()] == ["bad.jpg"]


def test_a_new_run_never_writes_over_an_old_joblog(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    batchmill("run", "web", photos, "-o", "out", "--joblog", "log.jsonl")
    before = (tmp_path / "log.jsonl").read_bytes()

    again = batchmill("run", "web", photos, "-o", "out2", "--joblog", "log.jsonl")

    assert again.returncode == 2
    assert "go on with --resume" in again.stderr
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize(("halt", "ended"), [("soon,fail=1", 3), ("now,fail=20%", 4)])
def test_a_run_gives_up_when_too_much_fails(
    batchmill: Run, tmp_path: Path, halt: str, ended: int
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(10):
        content = b"\xff\xd8\xff no picture"
        (tmp_path / "in" / f"{number}.jpg").write_bytes(content)

    done = batchmill("run", "web", "in", "-o", "out", "--halt", halt, "-j", "1", "--json")

    assert done.returncode == 1
    assert 1 <= len(done.stdout.splitlines()) <= ended
    assert "as --halt" in done.stderr


def started(tmp_path: Path, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "batchmill", *map(str, arguments)],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def slow_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        scene(24, 24).write_to_file(str(tmp_path / "in" / f"{number}.png"))
    scene(24, 24).write_to_file(str(tmp_path / "in" / "slow-9.png"))


SLOW = ("in", "-o", "out", "--joblog", "log.jsonl", "--set", "faulty.seconds=600", "--json")


def processes_in(session: int) -> list[str]:
    """Return the command lines of what still runs in a process group or below it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"batchmill.sandbox.run_job {session} " in text:
            found.append(text)
    return found


@pytest.mark.long
@parts.linux_only
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_leaves_nothing_behind_and_goes_on_later(
    batchmill: Run, tmp_path: Path, how: signal.Signals
) -> None:
    slow_files(tmp_path)
    (tmp_path / "faulty.toml").write_text('[[steps]]\nuse = "faulty"\n')
    run = started(tmp_path, "run", "faulty.toml", *SLOW)
    assert run.stdout is not None
    first = [json.loads(run.stdout.readline())["custom_id"] for _ in range(3)]
    if how is signal.SIGINT:  # a terminal's Ctrl-C reaches the whole group
        os.killpg(run.pid, how)
    else:
        run.send_signal(how)
    _, said = run.communicate(timeout=30)

    assert sorted(first) == ["0.png", "1.png", "2.png"]
    assert wait_until_gone(run.pid)
    if how is not signal.SIGKILL:
        assert run.returncode == 130
        assert "the same command with --resume goes on" in said
        assert tree(tmp_path / "out") == sorted(first)
    noted = [json.loads(line)["custom_id"] for line in (tmp_path / "log.jsonl").open()]
    assert noted == first

    (tmp_path / "in" / "slow-9.png").rename(tmp_path / "in" / "9.png")
    again = batchmill("run", "faulty.toml", *SLOW, "--resume")

    assert again.returncode == 0, again.stderr
    assert [json.loads(line)["custom_id"] for line in again.stdout.splitlines()] == ["9.png"]
    assert tree(tmp_path / "out") == ["0.png", "1.png", "2.png", "9.png"]


def test_a_reader_that_leaves_ends_the_run_quietly(photos: Path, tmp_path: Path) -> None:
    run = started(tmp_path, "run", "web", photos, "-o", "out", "--json", "--quiet")
    assert run.stdout is not None
    run.stdout.close()
    assert run.stderr is not None
    said = run.stderr.read()

    assert run.wait(timeout=30) == 141
    assert said == ""
    assert not [name for name in tree(tmp_path / "out") if "scratch" in name]


def wait_until_gone(session: int) -> bool:
    """The kernel ends the children of a killed process, but not within its own last moment."""
    until = time.monotonic() + 60
    while processes_in(session) and time.monotonic() < until:
        time.sleep(0.05)
    return not processes_in(session)


def test_a_half_line_that_a_kill_left_is_read_over(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    run = ("run", "web", photos, "-o", "out", "--joblog", "log.jsonl", "--json")
    batchmill(*run)
    log = tmp_path / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-40])

    once = batchmill(*run, "--resume")
    twice = batchmill(*run, "--resume")

    assert len(once.stdout.splitlines()) == 1
    assert twice.stdout == ""
    assert tree(tmp_path / "out") == WEB


# ------------------------------------------------------------ watching


def test_a_watched_folder_is_worked_on_as_files_appear(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    scene(24, 24).write_to_file(str(tmp_path / "in" / "a.png"))
    run = started(tmp_path, "run", "web", "in", "-o", "out", "--watch", "--settle", "0.2", "--json")
    assert run.stdout is not None
    first = json.loads(run.stdout.readline())
    scene(24, 24).write_to_file(str(tmp_path / "new.png"))
    (tmp_path / "new.png").rename(tmp_path / "in" / "b.png")
    second = json.loads(run.stdout.readline())
    scene(48, 48).write_to_file(str(tmp_path / "new.png"))
    (tmp_path / "new.png").rename(tmp_path / "in" / "a.png")
    third = json.loads(run.stdout.readline())
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=30)

    assert "Stopped watching; the same command with --skip-existing goes on." in said
    names = [line["custom_id"] for line in (first, second, third)]
    assert names == ["a.png", "b.png", "a.png"]
    assert third["outputs"][0]["width"] == 48
    assert tree(tmp_path / "out") == ["a.webp", "b.webp"]


# ------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("wev", "photos", "-o", "out"), "Did you mean 'web'?"),
        (("web", "nothing", "-o", "out"), "There is no file or folder 'nothing'"),
        (("web", "nothing/*.jpg", "-o", "out"), "No file matches"),
        (("web", "photos"), "Name a folder for the results"),
        (("web", "photos", "-o", "out", "--set", "resize.widht=3"), "Did you mean 'width'?"),
        (("web", "photos", "-o", "out", "--set", "rezise.width=3"), "Did you mean 'resize'?"),
        (("web", "photos", "-o", "out", "--set", "width"), "step.option=value"),
        (("web", "photos", "-o", "out", "-j", "none"), "--jobs"),
        (("web", "photos", "-o", "out", "-j", "0"), "--jobs"),
        (("web", "photos", "-o", "out", "--halt", "later"), "--halt"),
        (("web", "photos", "-o", "out", "--name", "{year}.{ext}"), "may use only"),
        (("web", "photos", "-o", "out", "--resume"), "--joblog"),
        (("web", "photos", "-o", "out", "--overwrite", "--skip-existing"), "exclude each other"),
        (("gone.toml", "photos", "-o", "out"), "no pipeline file"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_wrong_usage_is_one_sentence_and_a_remedy(
    batchmill: Run, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = batchmill("run", *arguments)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_joblog_is_left_alone(batchmill: Run, photos: Path) -> None:
    before = (photos / "a.png").read_bytes()

    done = batchmill("run", "web", photos, "-o", "out", "--joblog", photos / "a.png", "--resume")

    assert done.returncode == 2
    assert "is not a joblog" in done.stderr
    assert (photos / "a.png").read_bytes() == before


# ------------------------------------------------------------ what flags and pipeline say


def pipeline_file(folder: Path, **fields: object) -> str:
    (folder / "own.json").write_text(json.dumps(fields))
    return "own.json"


def lines_of(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("flags", "own", "whole", "attempts"),
    [
        ((), {}, {}, 2),
        ((), {}, {"retries": 0}, 1),
        ((), {"retries": 0}, {"retries": 3}, 1),
        ((), {"retries": 1}, {"retries": 0}, 2),
        (("--retries", 0), {"retries": 3}, {"retries": 3}, 1),
    ],
)
def test_retries_are_the_flags_else_the_steps_else_the_pipelines_else_1(
    batchmill: Run,
    photos: Path,
    *,
    flags: tuple[object, ...],
    own: dict[str, Any],
    whole: dict[str, Any],
    attempts: int,
) -> None:
    (photos / "a.png").rename(photos / "flaky.png")
    named = pipeline_file(photos.parent, steps=[{"use": "faulty", **own}], **whole)

    (line,) = lines_of(batchmill("run", named, "photos/flaky.png", "--json", *flags))

    assert line["attempts"] == attempts


@pytest.mark.parametrize(
    ("flags", "whole"), [((), {"timeout_s": 0.5}), (("--timeout", 0.5), {"timeout_s": 500})]
)
def test_the_time_limit_is_the_flags_else_the_pipelines(
    batchmill: Run, photos: Path, *, flags: tuple[object, ...], whole: dict[str, Any]
) -> None:
    (photos / "a.png").rename(photos / "slow.png")
    steps = [{"use": "faulty", "with": {"seconds": 600}}]
    named = pipeline_file(photos.parent, steps=steps, **whole)

    (line,) = lines_of(batchmill("run", named, "photos/slow.png", "--json", *flags))

    assert "longer than 0.5 s" in line["error"]["message"]


def test_a_time_limit_of_0_is_refused(batchmill: Run, photos: Path) -> None:
    done = batchmill("run", "web", photos, "-o", "out", "--timeout", 0)

    assert done.returncode == 2
    assert "`timeout_s` must be a number of seconds above 0" in done.stderr


def test_another_output_path_is_made_when_a_run_goes_on(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    steps = [{"use": "resize", "with": {"width": 40}}]
    run = ("run", "own.json", photos / "a.png", "-o", "out", "--joblog", "log.jsonl", "--json")
    pipeline_file(tmp_path, steps=steps, output={"path": "{stem}-one.{ext}"})
    batchmill(*run)
    pipeline_file(tmp_path, steps=steps, output={"path": "{stem}-two.{ext}"})

    done = batchmill(*run, "--resume")

    assert len(lines_of(done)) == 1
    assert tree(tmp_path / "out") == ["a-one.png", "a-two.png"]


def test_a_setting_by_operation_holds_for_every_step_of_it(batchmill: Run, photos: Path) -> None:
    steps = [{"use": "resize", "with": {"width": 50}}, {"use": "resize", "with": {"width": 60}}]
    named = pipeline_file(photos.parent, steps=steps)

    (line,) = lines_of(batchmill("run", named, "photos/a.png", "--json", "--set", "resize.width=7"))

    assert line["outputs"][0]["width"] == 7
