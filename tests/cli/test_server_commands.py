"""The commands that talk to a server, as processes, against a server that is one too."""

import csv
import json
import re
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from cli.conftest import Run
from support import preloaded
from support.environment import environment
from support.pictures import scene
from support.ports import shut_port
from support.served import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def remote(batchmill: Run, server: Server) -> Run:
    def run(*arguments: object, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return batchmill(*arguments, stdin=stdin, BATCHMILL_SERVER=server.url)

    return run


def sent(remote: Run, photos: Path, *more: object, preset: str = "web") -> str:
    done = remote("submit", preset, photos, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def slow_batch(remote: Run, folder: Path) -> str:
    """Send one file that takes ten minutes."""
    (folder / "slow.toml").write_text('[[steps]]\nuse = "faulty"\nwith = { seconds = 600 }\n')
    scene(24, 24).write_to_file(str(folder / "slow-1.png"))
    return sent(remote, folder / "slow-1.png", preset="slow.toml")


def test_a_folder_is_sent_watched_and_downloaded(remote: Run, photos: Path, tmp_path: Path) -> None:
    batch = sent(remote, photos)

    watched = remote("watch", batch)
    zipped = remote("download", batch, "-o", "results.zip")
    unpacked = remote("download", batch, "-o", "out", "--extract")

    assert batch.startswith("bat_")
    assert watched.returncode == 0
    assert "5 completed" in watched.stdout
    names = sorted(zipfile.ZipFile(tmp_path / "results.zip").namelist())
    assert names == ["a.webp", "b.webp", "c.webp", "summer/d.webp", "summer/e.webp"]
    assert (zipped.returncode, unpacked.returncode) == (0, 0)
    made = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in made) == names


def test_the_database_may_be_a_file_that_the_documents_commands_name(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/reference-systems.md").read_text()
    assert "export BATCHMILL_DATABASE_URL=sqlite:///procheff.db " in page
    commands = re.findall(r'^sqlite3 procheff\.db "(.+)"$', page, re.MULTILINE)
    database = tmp_path / "procheff.db"
    files = [("file", ("broken.pdf", b"%PDF-1.7\n")), ("file", ("menu.csv", b"a;b\n1;2\n"))]
    with Server(tmp_path, BATCHMILL_DATABASE_URL=f"sqlite:///{database}") as server:
        assert httpx.post(f"{server.url}/api/batch/upload", files=files).status_code == 200
        with closing(sqlite3.connect(database)) as connection:
            answers = [connection.execute(command).fetchall() for command in commands]

    (counted,), (row,) = answers
    assert 0 <= counted[0] <= 2
    assert row[2] == 2


def test_one_command_sends_waits_and_saves(remote: Run, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")

    done = remote("submit", "web", photos, "-o", "out", "--set", "resize.width=40")

    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "cannot be read" in done.stdout
    assert len(list((tmp_path / "out").rglob("*.webp"))) == 5


def test_an_archive_is_sent_as_it_is_and_becomes_items(
    remote: Run, photos: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.rglob("*.*"):
            archive.write(path, path.relative_to(photos))

    done = remote("submit", "web", "photos.zip", "--wait")

    assert done.returncode == 0
    assert "5 files: 5 completed" in done.stdout


def test_one_file_is_one_file(remote: Run, tmp_path: Path) -> None:
    scene(24, 24).write_to_file(str(tmp_path / "one.png"))

    assert "1 file: 1 completed" in remote("submit", "web", "one.png", "--wait").stdout


def test_answers_are_json_when_asked(remote: Run, photos: Path) -> None:
    batch = json.loads(remote("submit", "web", photos, "--wait", "--json").stdout)

    told = [json.loads(line) for line in remote("watch", batch["id"], "--json").stdout.splitlines()]
    listed = [json.loads(line) for line in remote("status", "--json").stdout.splitlines()]

    assert batch["status"] == told[-1]["status"] == "completed"
    assert batch["id"] in {each["id"] for each in listed}
    assert json.loads(remote("status", batch["id"], "--json").stdout)["counts"]["completed"] == 5


def test_status_lists_the_newest_and_shows_one_with_its_causes(remote: Run, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    batch = sent(remote, photos, "--name", "summer")
    remote("watch", batch)

    listed, shown = remote("status"), remote("status", batch)

    row = next(line for line in listed.stdout.splitlines() if batch in line)
    assert row.split()[-1] == "summer"
    assert "1 × … cannot be read" in shown.stdout
    assert "(group " in shown.stdout


def test_a_group_of_failures_is_tried_again(remote: Run, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    batch = json.loads(remote("submit", "web", photos, "--wait", "--json").stdout)
    (cause,) = batch["errors"]

    done = remote("retry", batch["id"], "--group", cause["id"])

    assert done.returncode == 0
    assert done.stdout.startswith("1 file to be tried again")
    assert remote("watch", batch["id"]).returncode == 1


def test_a_batch_is_paused_resumed_and_cancelled(remote: Run, tmp_path: Path) -> None:
    batch = slow_batch(remote, tmp_path)

    paused = remote("pause", batch)
    resumed = remote("resume", batch)
    cancelled = remote("cancel", batch)

    assert "paused" in paused.stdout
    assert resumed.returncode == 0
    assert "cancel" in cancelled.stdout
    assert remote("watch", batch).returncode == 1


def test_a_report_is_a_table_or_lines_on_stdout_or_in_a_file(
    remote: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    batch = sent(remote, photos)
    remote("watch", batch)

    lines = remote("report", batch, "--status", "failed").stdout.splitlines()
    remote("report", batch, "--format", "csv", "-o", "report.csv")

    assert [json.loads(line)["error"]["code"] for line in lines] == ["unreadable_file"]
    with (tmp_path / "report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"]: row["status"] for row in rows}["bad.jpg"] == "failed"
    assert len(rows) == 6


def test_ending_a_watch_does_not_touch_the_batch(
    remote: Run, server: Server, tmp_path: Path
) -> None:
    batch = slow_batch(remote, tmp_path)
    watching = subprocess.Popen(
        [sys.executable, "-m", "batchmill", "watch", batch, "--json"],
        env=environment(BATCHMILL_SERVER=server.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)

    watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert json.loads(remote("status", batch, "--json").stdout)["status"] == "processing"
    remote("cancel", batch)


# ------------------------------------------------------------ refusals


def test_without_a_server_the_exit_code_is_three(batchmill: Run) -> None:
    done = batchmill("status", "--server", "http://127.0.0.1:9")

    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "batchmill: No batchmill server answers at http://127.0.0.1:9.",
        "Start `batchmill serve`, or name the right address with --server.",
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("status", "bat_none"), "There is no batch 'bat_none'"),
        (("submit", "wev", "photos"), "Did you mean 'web'?"),
        (("submit", "web", "photos", "--set", "resize.widht=1"), "Did you mean 'width'?"),
        (("submit", "web", "nothing"), "There is no file or folder"),
        (("submit", "web", "photos", "--priority", "soon"), "--priority"),
        (("download", "bat_1", "-o", "x", "--extract", "--one-by-one"), "exclude each other"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_what_is_refused_is_one_sentence(
    remote: Run, arguments: tuple[str, ...], sentence: str
) -> None:
    done = remote(*arguments)

    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_port_that_is_taken_is_said(batchmill: Run, server: Server) -> None:
    done = batchmill("serve", "--port", server.url.rpartition(":")[2])

    assert done.returncode == 2
    assert "--port" in done.stderr


def test_a_stopped_server_ends_in_order(tmp_path: Path) -> None:
    with Server(tmp_path / "server") as server:
        assert server.stop() == 0
        server.start()


# ------------------------------------------------------------ start


def test_the_link_of_the_administrator_leads_to_the_address_that_people_reach(
    tmp_path: Path,
) -> None:
    settings = {
        "BATCHMILL_DATA_DIR": str(tmp_path),
        "BATCHMILL_PUBLIC_URL": "https://batch.example.org/",
        "BATCHMILL_CHILDREN": "2",
    }
    with (tmp_path / "log").open("w") as log:
        process = preloaded.start(["serve", "--port", "0"], env=environment(**settings), stderr=log)
    assert process.stdout is not None
    link = next(line for line in process.stdout if "administrator" in line)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    process.stdout.close()

    assert "https://batch.example.org/login?token=" in link
    lines = map(json.loads, (tmp_path / "log").read_text().splitlines())
    (begun,) = [line for line in lines if line["event"] == "worker.started"]
    assert begun["slots"] == 2


# ------------------------------------------------------------ migrate, doctor, catalog


def test_migrate_makes_the_schema_once(batchmill: Run, tmp_path: Path) -> None:
    first = batchmill("migrate", "--data-dir", "data")
    second = batchmill("migrate", "--data-dir", "data")

    assert (tmp_path / "data" / "batchmill.sqlite3").exists()
    assert "newest schema now" in first.stdout
    assert "Nothing was to be done" in second.stdout


def test_the_doctor_finds_all_well_beside_a_server(batchmill: Run, server: Server) -> None:
    done = batchmill("doctor", "--json", BATCHMILL_SERVER=server.url)

    found = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0
    assert {"Python", "settings", "libvips", "data folder", "database", "server"} <= found.keys()
    assert all(found[name]["verdict"] == "ok" for name in ("Python", "libvips", "server"))
    assert all(each["remedy"] for each in found.values() if each["verdict"] != "ok")


def test_the_doctor_says_of_an_empty_database_that_it_is_empty(
    batchmill: Run, tmp_path: Path
) -> None:
    found = batchmill("doctor", BATCHMILL_DATABASE_URL=f"sqlite:///{tmp_path}/new.db").stdout

    assert "sqlite, empty until the first start" in found
    assert "schema" not in found


def test_the_doctor_says_what_is_wrong_and_what_to_do(batchmill: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with shut_port() as port:
        done = batchmill(
            "doctor",
            BATCHMILL_DATA_DIR=str(tmp_path / "file"),
            BATCHMILL_REDIS_URL=f"redis://127.0.0.1:{port}",
            BATCHMILL_DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/none",
            BATCHMILL_SERVER="http://127.0.0.1:9",
            BATCHMILL_DATA_DRI="typo",
        )

    verdicts = {line[6:].partition(":")[0]: line[:4].strip() for line in done.stdout.splitlines()}
    assert done.returncode == 1
    assert verdicts["data folder"] == verdicts["engine"] == verdicts["database"] == "fail"
    assert verdicts["settings"] == verdicts["server"] == "warn"
    assert "Did you mean BATCHMILL_DATA_DIR?" in done.stdout
    assert not (tmp_path / "batchmill-data").exists()


def test_a_setting_that_is_wrong_is_said_by_its_name(batchmill: Run) -> None:
    done = batchmill("doctor", BATCHMILL_PORT="many")

    assert done.returncode == 2
    assert "BATCHMILL_PORT" in done.stderr


def test_operations_and_presets_are_listed_and_shown(batchmill: Run, photos: Path) -> None:
    listed = batchmill("operations").stdout
    one = batchmill("operations", "resize").stdout
    schema = json.loads(batchmill("operations", "resize", "--json").stdout)

    assert "resize" in listed
    assert "a whole number from 1 to" in one
    assert schema["properties"]["width"]
    assert "web" in batchmill("presets").stdout
    assert batchmill("operations", "rezise").returncode == 2


def test_a_preset_is_shown_as_a_file_that_does_the_same(
    batchmill: Run, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(batchmill("presets", "thumbnail").stdout)

    one = batchmill("run", "thumbnail", photos / "a.png", "-o", "one", "--json").stdout
    other = batchmill("run", "mine.toml", photos / "a.png", "-o", "other", "--json").stdout

    same = [json.loads(line)["outputs"][0]["sha256"] for line in (one, other)]
    assert same[0] == same[1]
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["a.webp"]
