"""The clients against a real server, which is stopped and killed while they work."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from batchmill import AsyncClient, Client
from batchmill.client import files
from batchmill.client.endpoints import FileUpload
from batchmill.errors.item import InputMissingError, OutputUnwritableError
from batchmill.errors.outage import ServerUnreachableError
from batchmill.errors.request import (
    ConflictError,
    EmptyBatchError,
    NotFoundError,
    TooLargeError,
    UnknownNameError,
)
from batchmill.model.batch import BatchStatus
from batchmill.model.item import ItemStatus
from batchmill.settings.fields import TierLimits, Tiers
from batchmill.wire import requests, responses
from support import whole_server
from support.pictures import scene
from support.served import Server

NOWHERE = "http://127.0.0.1:9"
RAISE = ", or raise `file_bytes` (of an archive `zip_bytes`)"
"""The discard port: nothing listens there."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


def pictures(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        scene(96, 64, seed=number).write_to_file(str(path))
    return paths


def test_files_go_there_and_results_come_back(client: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no picture")

    batch = client.submit([*pictures(tmp_path, "a.png", "b.jpg"), bad], "web")
    ended = client.wait(batch.id)

    assert ended.status is BatchStatus.COMPLETED_WITH_ERRORS
    assert (ended.counts.completed, ended.counts.failed) == (2, 1)
    assert [item.input.path for item in client.items(batch.id)] == ["a.png", "b.jpg", "bad.jpg"]
    failed = list(client.items(batch.id, status="failed"))
    assert [item.error.code for item in failed if item.error] == ["unreadable_file"]
    archive = client.download(batch.id, tmp_path / "results.zip")
    assert zipfile.ZipFile(archive).namelist() == ["a.webp", "b.webp"]
    saved = [path for _, path in client.download_files(batch.id, tmp_path / "out")]
    assert [path.read_bytes()[8:12] for path in saved] == [b"WEBP", b"WEBP"]


def test_many_files_go_in_several_requests(client: Client, tmp_path: Path) -> None:
    (path,) = pictures(tmp_path, "a.png")
    many = [FileUpload(path, f"folder/{n:03}.png", path.stat().st_size) for n in range(120)]

    batch = client.submit(many, "thumbnail")

    assert not batch.open
    assert batch.counts.total == 120
    names = [item.input.path for item in client.items(batch.id)]
    assert names == [upload.name for upload in many]
    client.wait(batch.id)


def test_files_over_the_limit_fail_alone_wherever_they_come(tmp_path: Path) -> None:
    """Beside others, in a request of their own, and larger than any request may be."""
    (good,) = pictures(tmp_path, "good.png")
    large, huge = tmp_path / "large.png", tmp_path / "huge.png"
    large.write_bytes(bytes(1_000_001))
    with huge.open("wb") as file:
        file.truncate(files.BYTES_PER_REQUEST)
    limits = TierLimits(file_bytes=1_000_000, zip_bytes=2_000_000, batch_bytes=2_000_000)
    with (
        whole_server.running(tmp_path / "data", tiers=Tiers(anonymous=limits)) as small,
        Client(small.url) as client,
    ):
        first = client.wait(client.submit([huge, good, large], "web").id)
        alone = client.wait(client.submit([huge], "web").id)
        told = [item.error and item.error.message for item in client.items(first.id)]

    assert told == [
        f"huge.png is larger than the limit of 1 MB; make it smaller{RAISE}",
        None,
        f"large.png is larger than the limit of 1 MB; make it smaller{RAISE}",
    ]
    assert (first.counts.completed, first.counts.failed) == (1, 2)
    assert (alone.counts.completed, alone.counts.failed) == (0, 1)


def test_files_that_are_too_much_together_are_refused(tmp_path: Path) -> None:
    photos = pictures(tmp_path, "a.png", "b.png")
    limits = TierLimits(batch_bytes=100_000, zip_bytes=100_000)
    uploads = [FileUpload(path, path.name, path.stat().st_size) for path in photos] * 30
    with (
        whole_server.running(tmp_path / "data", tiers=Tiers(anonymous=limits)) as small,
        Client(small.url) as client,
        pytest.raises(TooLargeError),
    ):
        client.submit(uploads, "web")


def test_bytes_are_told_as_they_leave(client: Client, tmp_path: Path) -> None:
    paths = pictures(tmp_path, "a.png", "b.png")
    told: list[int] = []

    batch = client.submit(paths, "web", on_bytes=told.append)

    assert sum(told) == sum(path.stat().st_size for path in paths)
    client.wait(batch.id)


def test_options_and_pipelines_of_ones_own_arrive(client: Client, tmp_path: Path) -> None:
    options = requests.BatchOptions(name="mine", tag="t1", step_options={"resize": {"width": 20}})
    pipeline = {"name": "small", "steps": [{"use": "resize", "with": {"width": 30}}]}

    batch = client.submit(pictures(tmp_path, "a.png"), pipeline, options=options)
    client.wait(batch.id)

    assert (batch.name, batch.pipeline["name"]) == ("mine", "small")
    assert [one.id for one in client.batches(tag="t1")] == [batch.id]
    (item,) = client.items(batch.id)
    assert item.outputs[0].width == 20
    assert client.item(item.id).data == {}


def test_a_batch_can_be_kept_open_and_closed_later(client: Client, tmp_path: Path) -> None:
    a, b = pictures(tmp_path, "a.png", "b.png")

    batch = client.submit([], "web", options=requests.BatchOptions(keep_open=True))
    assert client.add(batch.id, [a, b]) == 2
    assert client.batch(batch.id).open
    client.close_batch(batch.id)

    assert client.wait(batch.id).counts.completed == 2


def test_a_batch_can_be_paused_resumed_and_cancelled(client: Client, tmp_path: Path) -> None:
    options = requests.BatchOptions(keep_open=True)
    batch = client.submit(pictures(tmp_path, "a.png"), "web", options=options)

    assert client.pause(batch.id).paused
    assert not client.resume(batch.id).paused
    client.cancel(batch.id)

    assert client.wait(batch.id).status is BatchStatus.CANCELLED
    with pytest.raises(ConflictError):
        client.pause(batch.id)


def test_failures_are_grouped_and_tried_again(client: Client, tmp_path: Path) -> None:
    bad = [tmp_path / f"{n}.jpg" for n in range(3)]
    for path in bad:
        path.write_bytes(b"\xff\xd8\xff no picture")
    batch = client.submit(bad, "web")
    client.wait(batch.id)

    (group,) = client.failures(batch.id)
    assert (group.code, group.count) == ("unreadable_file", 3)
    assert client.retry(batch.id, group=group.id).retried == 3
    client.wait(batch.id)
    one = next(client.items(batch.id, status="failed"))
    assert client.retry(batch.id, ids=[one.id]).retried == 1
    client.wait(batch.id)
    assert client.retry(batch.id).retried == 3
    assert client.wait(batch.id).run == 4


def test_watching_shows_every_stage_and_never_goes_back(client: Client, tmp_path: Path) -> None:
    batch = client.submit(pictures(tmp_path, *(f"{n}.png" for n in range(8))), "web")

    seen = list(client.watch(batch.id))

    percents = [one.progress.percent or 0 for one in seen]
    assert percents == sorted(percents)
    assert [one.revision for one in seen] == sorted(one.revision for one in seen)
    assert seen[-1].status is BatchStatus.COMPLETED


def test_a_server_of_before_is_asked_again_and_again(server: Server, tmp_path: Path) -> None:
    async def polled() -> list[responses.Batch]:
        async with AsyncClient(server.url) as client:
            batch = await client.submit(pictures(tmp_path, "a.png", "b.png"), "web")
            return [one async for one in _until_ended(client, batch.id)]

    assert asyncio.run(polled())[-1].status is BatchStatus.COMPLETED


async def _until_ended(client: AsyncClient, batch_id: str) -> AsyncIterator[responses.Batch]:
    async for batch in client._polled(batch_id, None):
        yield batch
        if batch.status.ended:
            return


# ------------------------------------------------------------ refusals


def test_what_the_server_refuses_is_the_same_error_here(client: Client, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="'web'"):
        client.submit(pictures(tmp_path, "a.png"), "wev")
    with pytest.raises(NotFoundError):
        client.batch("bat_none")
    with pytest.raises(NotFoundError):
        next(client.watch("bat_none"))


def test_nothing_is_sent_of_files_that_are_not_there(client: Client, tmp_path: Path) -> None:
    before = [batch.id for batch in client.batches()]

    with pytest.raises(InputMissingError):
        client.submit([tmp_path / "gone.png"], "web")
    with pytest.raises(EmptyBatchError):
        client.submit([], "web")

    assert [batch.id for batch in client.batches()] == before


def test_a_batch_that_could_not_be_sent_whole_is_cancelled(client: Client, tmp_path: Path) -> None:
    (path,) = pictures(tmp_path, "a.png")
    many = [FileUpload(path, f"{n}.png", path.stat().st_size) for n in range(50)]
    gone = FileUpload(tmp_path / "gone.png", "gone.png", 10)

    with pytest.raises(InputMissingError):
        client.submit([*many, gone], "web", options=requests.BatchOptions(tag="broken"))

    (batch,) = client.batches(tag="broken")
    assert client.wait(batch.id).status is BatchStatus.CANCELLED


def test_a_client_works_inside_a_running_event_loop_and_closes_twice(server: Server) -> None:
    async def inside() -> list[responses.Batch]:
        with Client(server.url) as client:
            found = list(client.batches())
            client.close()
            return found

    assert isinstance(asyncio.run(inside()), list)


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    with Client(NOWHERE) as client, pytest.raises(ServerUnreachableError, match=NOWHERE):
        client.batch("bat_1")


# ------------------------------------------------------------ chunks


def test_requests_are_cut_by_number_and_by_bytes(tmp_path: Path) -> None:
    def upload(size: int) -> FileUpload:
        return FileUpload(tmp_path, "x", size)

    small = list(files.chunks([upload(1)] * 101))
    large = list(files.chunks([upload(1), upload(2**40), upload(1)]))

    assert [len(chunk) for chunk in small] == [50, 50, 1]
    assert [len(chunk) for chunk in large] == [1, 1, 1]
    assert list(files.chunks([])) == []


# ------------------------------------------------------------ downloads that break off


def test_a_download_goes_on_where_it_was(client: Client, tmp_path: Path) -> None:
    batch = client.submit(pictures(tmp_path, *(f"{n}.png" for n in range(4))), "web")
    client.wait(batch.id)
    whole = client.download(batch.id, tmp_path / "whole.zip").read_bytes()

    class StopError(Exception):
        pass

    def stop(_: int) -> None:
        if any(path.stat().st_size for path in tmp_path.glob(".*.part")):
            raise StopError

    with pytest.raises(StopError):
        client.download(batch.id, tmp_path / "again.zip", on_bytes=stop)
    (part,) = tmp_path.glob(".*.part")
    part.write_bytes(whole[: len(whole) // 2])
    told: list[int] = []
    client.download(batch.id, tmp_path / "again.zip", on_bytes=told.append)

    assert (tmp_path / "again.zip").read_bytes() == whole
    assert told[0] == len(whole) // 2
    assert sum(told) == len(whole)
    assert not list(tmp_path.glob(".*.part"))


def test_a_part_of_other_bytes_is_not_gone_on_with(client: Client, tmp_path: Path) -> None:
    batch = client.submit(pictures(tmp_path, "a.png"), "web")
    client.wait(batch.id)
    client.download(batch.id, tmp_path / "one.zip")
    from batchmill.client.downloads import _digest

    target = tmp_path / "two.zip"
    (tmp_path / f".{_digest(target)}.%22of-something-else%22.part").write_bytes(b"x" * 10)
    client.download(batch.id, target)

    assert target.read_bytes() == (tmp_path / "one.zip").read_bytes()


def test_a_folder_that_cannot_be_written_is_said(client: Client, tmp_path: Path) -> None:
    batch = client.submit(pictures(tmp_path, "a.png"), "web")
    client.wait(batch.id)
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OutputUnwritableError):
        client.download(batch.id, tmp_path / "file" / "results.zip")


def test_files_that_are_there_are_not_downloaded_again(client: Client, tmp_path: Path) -> None:
    batch = client.submit(pictures(tmp_path, "x/a.png", "y/a.png"), "web")
    client.wait(batch.id)
    first = [path for _, path in client.download_files(batch.id, tmp_path / "out")]
    told: list[int] = []

    list(client.download_files(batch.id, tmp_path / "out", on_bytes=told.append))

    assert [path.name for path in first] == ["a.webp", "a (#2).webp"]
    assert not told


# ------------------------------------------------------------ outages


@pytest.mark.long
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_restart_in_the_middle_is_survived(tmp_path: Path, how: str) -> None:
    async def story(server: Server) -> responses.Batch:
        async with AsyncClient(server.url) as client:
            pipeline = {"steps": [{"use": "faulty", "with": {"seconds": 0.3}}]}
            files = pictures(tmp_path, *(f"slow-{n}.png" for n in range(12)))
            batch = await client.submit(files, pipeline)
            percents = []
            async for one in client.watch(batch.id):
                percents.append(one.progress.percent or 0)
                if len(percents) == 3:
                    await asyncio.to_thread(getattr(server, how))
                    asyncio.get_running_loop().call_later(
                        0.5, lambda: asyncio.get_running_loop().run_in_executor(None, server.start)
                    )
            assert percents == sorted(percents)
            return one

    with Server(tmp_path / "server") as server:
        ended = asyncio.run(story(server))
    assert ended.counts.completed + ended.counts.skipped == 12


@pytest.mark.long
def test_a_server_that_stays_away_is_given_up(tmp_path: Path) -> None:
    with Server(tmp_path / "server") as server, Client(server.url, patience_s=1.5) as client:
        list(client.batches())
        server.kill()
        with pytest.raises(ServerUnreachableError):
            list(client.batches())
        server.start()


# ------------------------------------------------------------ wherever it can be done


def test_process_does_it_on_the_server_and_says_so(client: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no picture")

    done = client.process([*pictures(tmp_path, "a.png"), bad], "web", output_dir=tmp_path / "out")

    assert done.via == "server"
    assert done.batch_id is not None
    assert [file.status for file in done.files] == [ItemStatus.COMPLETED, ItemStatus.FAILED]
    assert done.files[0].paths == (tmp_path / "out" / "a.webp",)
    assert "cannot be read" in (done.files[1].error or "")


def test_process_does_the_same_here_when_there_is_no_server(client: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no picture")
    files = [*pictures(tmp_path, "a.png"), bad]
    moves: list[int] = []

    with Client(NOWHERE, fallback="local") as away:
        here = away.process(
            files, "web", output_dir=tmp_path / "here", on_move=lambda m: moves.append(m.completed)
        )
    there = client.process(files, "web", output_dir=tmp_path / "there")

    assert here.via == "local"
    assert NOWHERE in (here.reason or "")
    assert moves == [1, 2]
    assert [file.status for file in here.files] == [file.status for file in there.files]
    one, other = (tmp_path / name / "a.webp" for name in ("here", "there"))
    assert one.read_bytes() == other.read_bytes()


def test_without_the_fallback_there_is_an_error(tmp_path: Path) -> None:
    files = pictures(tmp_path, "a.png")

    with Client(NOWHERE) as away, pytest.raises(ServerUnreachableError):
        away.process(files, "web", output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
