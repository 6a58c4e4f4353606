"""Document 000, row by row: what becomes of a batch, and of one in which something fails."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reference.sequential import (
    MANY,
    PREFIX,
    STATUS,
    SUBMIT,
    described,
    ended,
    folder,
    idle,
    key_of,
    picked,
    server,
    submit,
)
from support.camera_raw import write_dng
from support.folders import files_below
from support.pictures import scene
from support.ports import shut_port
from support.processes import Process, serving
from support.reference_rows import PARTLY, WORKS, Row

__all__ = ["folder", "idle", "server"]

pytestmark = [pytest.mark.long]
TIERS = {"enterprise": 1, "premium": 2, "pro": 2, "test_premium": 3, "free": 10, "anonymous": 15}


# ---------------------------------------------------------------- processing flow


@pytest.mark.row("Flow 5", "files of a batch are processed one at a time, in order")
def test_one_file_is_at_work_at_a_time(row: Row, server: Process, folder: Path) -> None:
    names = [f"image{number}.jpg" for number in range(1, 6)]
    told = ended(server, submit(server, described(folder, *names)))
    items = server.client.get(f"/v1/batches/{told['batchId']}/items").json()["data"]
    times = [(item["started_at"], item["ended_at"]) for item in items]

    assert all(before[1] <= after[0] for before, after in pairwise(times))
    row(f"{SUBMIT} of 5 files; started and ended of each", times)


@pytest.mark.row("Flow 6", "the input is read and never removed; temporary files go")
def test_nothing_temporary_stays(row: Row, server: Process, folder: Path) -> None:
    before = (folder / "image3.jpg").read_bytes()
    ended(server, submit(server, described(folder, "image3.jpg", "broken.jpg")))
    ours = {"lock", "step"}  # which a child has while it waits
    left = [each for each in files_below(server.data_dir / "tmp") if each.name not in ours]

    assert (folder / "image3.jpg").read_bytes() == before
    assert not left
    row("look into the data folder's tmp afterwards", f"{len(left)} files")


@pytest.mark.row(
    "Priorities", "enterprise 1, premium, pro 2, test premium 3, free 10, anonymous 15"
)
def test_the_tier_of_the_key_is_the_priority(row: Row, idle: Process, folder: Path) -> None:
    found = {}
    for tier in TIERS:
        headers = {"X-API-Key": key_of(idle, tier)}
        body = {"files": described(folder, "image1.jpg")}
        sent = idle.client.post(f"{PREFIX}/submit", json=body, headers=headers).json()
        batch = idle.client.get(f"/v1/batches/{sent['batchId']}", headers=headers).json()
        found[tier] = batch["priority"] // 100

    assert found == TIERS
    row("batchmill keys create --tier …; submit with each key", found)


@pytest.mark.row("Priorities", "userTier of the request raises nothing")
def test_a_client_cannot_raise_itself(row: Row, idle: Process, folder: Path) -> None:
    sent = submit(idle, described(folder, "image1.jpg"), userTier="enterprise").json()
    rank = idle.client.get(f"/v1/batches/{sent['batchId']}").json()["priority"] // 100

    assert rank == 15
    row(f'{SUBMIT} with "userTier":"enterprise" and no key', {"priority": rank})


@pytest.mark.row("Benefits: large files", "75 MB a file")
def test_a_file_of_75_mb_is_compressed(row: Row, server: Process, folder: Path) -> None:
    scene(5_000, 5_000).tiffsave(str(folder / "large.tiff"))
    told = ended(server, submit(server, described(folder, "large.tiff")))
    (file,) = told["files"]
    (item,) = server.client.get(f"/v1/batches/{told['batchId']}/items").json()["data"]
    (folder / "large.tiff").unlink()

    assert file["originalSize"] > 75_000_000
    assert file["status"] == "completed"
    kept = picked(file, "originalSize", "compressedSize")
    row(f"{SUBMIT} of a TIFF of 75 MB", {**kept, "run_ms": item["timings"]["run_ms"]})


@pytest.mark.row("Performance", "5 MB JPG: 2 to 3 seconds")
def test_a_jpeg_of_5_mb_is_timed(row: Row, server: Process, folder: Path) -> None:
    told = ended(server, submit(server, described(folder, "large.jpg")))
    (item,) = server.client.get(f"/v1/batches/{told['batchId']}/items").json()["data"]

    assert item["status"] == "completed"
    run_ms = item["timings"]["run_ms"]
    came = {"bytes": item["input"]["bytes"], "run_ms": run_ms}
    verdict = WORKS if run_ms <= 3_000 else PARTLY
    row(f"{SUBMIT} of 12 Mpx", came, verdict, why="" if verdict == WORKS else "slower here")


@pytest.mark.row("Performance: memory", "100 to 200 MB a file")
def test_the_memory_of_a_file_is_read(row: Row, tmp_path: Path, folder: Path) -> None:
    scene(5_000, 5_000).tiffsave(str(folder / "memory.tiff"))
    write_dng(folder / "memory.dng", scene(5_000, 4_000))
    peaks = {}
    for name in ("large.jpg", "memory.tiff", "memory.dng"):
        env = {"BATCHMILL_INPUT_DIRS": str(folder), "BATCHMILL_CHILDREN": "1", **MANY}
        with serving(tmp_path / name / "data", **env) as server:
            told = ended(server, submit(server, described(folder, name)))
            assert told["results"]["successful"] == 1
            peaks[name] = max(_peak_mb(pid) for pid in server.children())
    for name in ("memory.tiff", "memory.dng"):
        (folder / name).unlink()

    assert max(peaks.values()) < 2_048
    call = "peak memory of the child: JPEG of 12 Mpx, TIFF of 75 MB, DNG of 20 Mpx"
    over = [name for name, peak in peaks.items() if peak > 200]
    if over:
        row(call, f"{peaks} MB", PARTLY, why=f"{' and '.join(over)} took more than 200 MB")
    else:
        row(call, f"{peaks} MB")


def _peak_mb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # it has ended since
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024 if "VmHWM:" in status else 0


@pytest.mark.row("Performance: scalable", "1000s of batches in the queue")
def test_a_thousand_batches_wait(row: Row, idle: Process, folder: Path) -> None:
    body = bytes(scene(8, 8).jpegsave_buffer())
    for _ in range(1_000):
        sent = idle.client.post(f"{PREFIX}/submit", files={"files": ("a.jpg", body)})
        assert sent.status_code == 200, sent.text
    told = idle.client.get(f"{PREFIX}/queue-stats").json()

    assert told["queue"]["waiting"] == 1_000
    row(f"1,000 × {SUBMIT}; GET {PREFIX}/queue-stats", told)


@pytest.mark.row("Performance: scalable", "what stops a client without a key says how to go on")
def test_the_first_429_says_how_to_go_on(row: Row, tmp_path: Path) -> None:
    body = bytes(scene(8, 8).jpegsave_buffer())
    limit = {"RATE_LIMIT_MAX_REQUESTS": "2"}
    with serving(tmp_path / "data", **limit) as server:
        sent = [
            server.client.post(f"{PREFIX}/submit", files={"files": ("a.jpg", body)})
            for _ in range(3)
        ]

    assert [each.status_code for each in sent] == [200, 200, 429]
    assert int(sent[2].headers["retry-after"]) > 0
    assert "BATCHMILL_IMAGES_RATE_REQUESTS" in sent[2].json()["error"]
    row(f"RATE_LIMIT_MAX_REQUESTS=2; 3 × {SUBMIT}", f"429 {sent[2].text}")


# ---------------------------------------------------------------- errors


@pytest.mark.row("Errors: file not found", "marked failed, the batch goes on")
def test_a_missing_file_fails_alone(row: Row, server: Process, folder: Path) -> None:
    told = ended(server, submit(server, described(folder, "absent.jpg", "image1.jpg")))

    assert [file["status"] for file in told["files"]] == ["failed", "completed"]
    row(SUBMIT, [picked(file, "status", "error") for file in told["files"]])


@pytest.mark.row("Errors: compression error", "logged, skipped, the batch goes on")
def test_a_broken_file_fails_alone(row: Row, server: Process, folder: Path) -> None:
    told = ended(server, submit(server, described(folder, "broken.jpg", "image1.jpg")))

    assert [file["status"] for file in told["files"]] == ["failed", "completed"]
    logged = [each for each in server.log() if each.get("name") == "broken.jpg"]
    assert logged
    row(SUBMIT, [picked(file, "status", "error") for file in told["files"]])


@pytest.mark.row("Errors: out of memory", "a graceful failure, the batch goes on")
def test_a_file_that_needs_too_much_memory_fails_alone(
    row: Row, tmp_path: Path, folder: Path
) -> None:
    env = {"BATCHMILL_INPUT_DIRS": str(folder), "BATCHMILL_CHILDREN": "1", **MANY}
    little = {"BATCHMILL_TIERS_ANONYMOUS_MEMORY_BYTES": "300MB"}
    scene(6_000, 6_000).pngsave(str(folder / "huge.png"), interlace=True)
    with serving(tmp_path / "data", **env, **little) as server:
        told = ended(server, submit(server, described(folder, "huge.png", "image1.jpg")))
    (folder / "huge.png").unlink()

    assert [file["status"] for file in told["files"]] == ["failed", "completed"]
    assert "memory" in told["files"][0]["error"]
    call = "BATCHMILL_TIERS_ANONYMOUS_MEMORY_BYTES=300MB; an interlaced PNG of 36 Mpx"
    row(call, [picked(file, "status", "error") for file in told["files"]])


@pytest.mark.row("Errors: upload error", "tried again, then kept on the server")
def test_a_bucket_that_is_away_costs_no_result(row: Row, tmp_path: Path, folder: Path) -> None:
    with shut_port() as port:
        env = {
            "BATCHMILL_INPUT_DIRS": str(folder),
            "BATCHMILL_RESULTS_URL": "s3://bucket/results",
            "BATCHMILL_CDN_URL": "https://cdn.example",
            "BATCHMILL_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "BATCHMILL_S3_ACCESS_KEY_ID": "key",
            "BATCHMILL_S3_SECRET_ACCESS_KEY": "secret",
            **MANY,
        }
        with serving(tmp_path / "data", **env) as server:
            (file,) = ended(server, submit(server, described(folder, "image1.jpg")))["files"]
            got = server.client.get(file["downloadUrl"])

    assert (file["status"], file["storage"], got.status_code) == ("completed", "local", 200)
    row(
        "BATCHMILL_RESULTS_URL at a closed port; submit",
        picked(file, "status", "storage", "warnings", "downloadUrl"),
    )


@pytest.mark.row("Files: uploadFileToR2", "results go to the bucket, with metadata, behind the CDN")
def test_results_are_uploaded_to_the_bucket(
    row: Row, own_bucket: Any, tmp_path: Path, folder: Path
) -> None:
    import obstore
    from obstore.store import S3Store

    env = {
        "BATCHMILL_INPUT_DIRS": str(folder),
        "BATCHMILL_RESULTS_URL": own_bucket.url,
        "BATCHMILL_CDN_URL": "https://cdn.example/shop",
        "BATCHMILL_S3_ENDPOINT": own_bucket.endpoint,
        "BATCHMILL_S3_REGION": own_bucket.region,
        "BATCHMILL_S3_ACCESS_KEY_ID": own_bucket.access_key_id,
        "BATCHMILL_S3_SECRET_ACCESS_KEY": own_bucket.secret_access_key,
        **MANY,
    }
    with serving(tmp_path / "data", **env) as server:
        (file,) = ended(server, submit(server, described(folder, "image1.jpg")))["files"]
        store = S3Store.from_url(
            own_bucket.url,
            endpoint=own_bucket.endpoint,
            region=own_bucket.region,
            access_key_id=own_bucket.access_key_id,
            secret_access_key=own_bucket.secret_access_key,
            client_options={"allow_http": True},
        )
        found = obstore.get(store, file["downloadUrl"].removeprefix("https://cdn.example/shop/"))
        attributes = dict(found.attributes)

    assert (file["storage"], found.meta["size"]) == ("bucket", file["compressedSize"])
    assert attributes["Content-Type"] == "image/jpeg"
    row(
        "BATCHMILL_RESULTS_URL=s3://… (a server that speaks S3), BATCHMILL_CDN_URL; submit",
        {**picked(file, "storage", "downloadUrl"), "object": attributes},
    )


# ---------------------------------------------------------------- monitoring


@pytest.fixture(scope="module")
def lines(server: Process, folder: Path) -> list[dict[str, Any]]:
    """The log lines of a batch of two files."""
    told = ended(server, submit(server, described(folder, "image4.jpg", "image5.jpg")))
    batch_id = told["batchId"]
    items = server.client.get(f"/v1/batches/{batch_id}/items").json()["data"]
    ids = {batch_id, *(item["id"] for item in items)}
    return [each for each in server.log() if ids & {each.get("batch"), each.get("item")}]


@pytest.mark.row("Monitoring", "Starting Sequential Batch Processing - Batch ID: …")
def test_the_log_says_that_a_batch_starts(row: Row, lines: list[dict[str, Any]]) -> None:
    (line,) = [each for each in lines if each["event"] == "batch.accepted"]

    assert line["items"] == 2
    row("the server's log", line)


@pytest.mark.row("Monitoring", "[1/5] Processing: image1.jpg")
def test_the_log_says_which_file_is_begun(row: Row, lines: list[dict[str, Any]]) -> None:
    begun = [each for each in lines if each["event"] == "item.started"]

    assert [(each["place"], each["name"]) for each in begun] == [
        ("[1/2]", "image4.jpg"),
        ("[2/2]", "image5.jpg"),
    ]
    row("the server's log", begun[0])


@pytest.mark.row("Monitoring", "Success! (5s)")
def test_the_log_says_what_became_of_a_file(row: Row, lines: list[dict[str, Any]]) -> None:
    ends = [each for each in lines if each["event"] == "item.finished"]

    assert [each["status"] for each in ends] == ["completed", "completed"]
    assert all(name in each for each in ends for name in ("name", "place"))
    assert all(any(name.startswith("run_") for name in each) for each in ends)
    row("the server's log", ends[0])


@pytest.mark.row("Monitoring", "Batch Complete! Results: 5 success, 0 failed")
def test_the_log_sums_up(row: Row, lines: list[dict[str, Any]]) -> None:
    (line,) = [each for each in lines if each["event"] == "batch.ended"]

    assert (line["succeeded"], line["failed"]) == (2, 0)
    row("the server's log", line)


# ---------------------------------------------------------------- the checklist


@pytest.mark.row("Checklist", "submit a batch of 50 files, of mixed sizes")
def test_fifty_files_of_mixed_sizes(row: Row, server: Process, folder: Path) -> None:
    small = folder / "small.png"
    scene(40, 30).pngsave(str(small))
    names = ["large.jpg", "small.png", *["image1.jpg", "small.png"] * 24]
    told = ended(server, submit(server, described(folder, *names)))

    assert told["progress"] == {"current": 50, "total": 50, "percentage": 100}
    assert told["results"]["successful"] == 50
    row(f"{SUBMIT} of 50 files of 3 kB to 5 MB", picked(told, "status", "progress", "results"))


@pytest.mark.row("Checklist", "progress in real time: it only grows")
def test_progress_only_grows(row: Row, server: Process, folder: Path) -> None:
    sent = submit(server, described(folder, *[f"image{n}.jpg" for n in (1, 2, 3, 4, 5)])).json()
    seen = server.watch(
        sent["statusUrl"], lambda told: told["progress"]["percentage"], lambda done: done == 100
    )

    assert seen == sorted(seen)
    assert seen[-1] == 100
    row(f"{STATUS}, {len(seen)} times", sorted(set(seen)))


@pytest.mark.row("Checklist", "priorities: a batch of a better tier is worked on first")
def test_a_better_tier_goes_first(row: Row, idle: Process, folder: Path) -> None:
    keys, sent = {}, {}
    ends: dict[str, Any] = {}
    for tier in ("free", "enterprise"):
        keys[tier] = {"X-API-Key": key_of(idle, tier)}
        body = {"files": described(folder, "image1.jpg", "image2.jpg")}
        answer = idle.client.post(f"{PREFIX}/submit", json=body, headers=keys[tier])
        sent[tier] = answer.json()["batchId"]
    assert idle.client.post("/v1/queue/resume").is_success
    for tier, batch_id in sent.items():
        while not ends.get(tier):
            path = f"/v1/batches/{batch_id}"
            ends[tier] = idle.client.get(path, headers=keys[tier]).json()["started_at"]

    assert ends["enterprise"] <= ends["free"]
    row("submit as free, then as enterprise, while the queue is paused; started_at", ends)
