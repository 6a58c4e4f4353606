"""A hundred batches of three small pictures from one owner, and from up to twenty.

    make bench-owners

`serve` with its own worker and SQLite, as it is started with one command. The first figure is of
batches that one client sends while they are worked on, so it includes taking them in; the second of
batches that were there already, for the queue was paused. Every count of owners has a server of its
own, in turn, BENCH_ROUNDS times. Writes benchmarks/results/owners.md.
"""

import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx
import pyvips
from systems import System, batchmill, circumstances

HERE = Path(__file__).parent
OWNERS = (1, 2, 3, 5, 20)
BATCHES = int(os.environ.get("BENCH_BATCHES", "100"))
FILES = 3
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
Files = list[tuple[str, tuple[str, bytes]]]
ADMIN_KEY = "bm_benchmark-administrator-of-this-run-alone"
FINAL = ("completed", "completed_with_errors", "failed", "cancelled")


class Rates(NamedTuple):
    """Files a second and CPU milliseconds a file: of what came, and of what was there already."""

    came: float
    came_ms: float
    there: float
    there_ms: float


def main() -> None:
    files = _pictures()
    found: dict[int, list[Rates]] = {owners: [] for owners in OWNERS}
    for number in range(ROUNDS):
        for owners in OWNERS:
            found[owners].append(_measured(owners, files))
            print(number + 1, owners, *map(round, found[owners][-1]), flush=True)
    table = _table(found)
    print(table)
    (HERE / "results/owners.md").write_text(table, encoding="utf-8")


def _pictures() -> Files:
    noise = [pyvips.Image.gaussnoise(64, 64, mean=128, sigma=30, seed=n) for n in range(FILES)]
    bodies = [each.cast("uchar").pngsave_buffer() for each in noise]
    return [("files", (f"{n}.png", body)) for n, body in enumerate(bodies)]


def _measured(owners: int, files: Files) -> Rates:
    with (
        tempfile.TemporaryDirectory() as name,
        batchmill(Path(name) / "data", BATCHMILL_ADMIN_KEY=ADMIN_KEY) as system,
    ):
        keys = [_key(system.client, number) for number in range(owners)]
        _wait(system, _send(system, keys[:1], files, 3))  # children are there, and code is warm
        spent_s, began = system.cpu_s()["server"], time.monotonic()
        _wait(system, _send(system, keys, files, BATCHES))
        came_s, came_cpu_s = time.monotonic() - began, system.cpu_s()["server"] - spent_s
        _queue(system.client, "pause")
        sent = _send(system, keys, files, BATCHES)
        spent_s, began = system.cpu_s()["server"], time.monotonic()
        _queue(system.client, "resume")
        _wait(system, sent)
        there_s, there_cpu_s = time.monotonic() - began, system.cpu_s()["server"] - spent_s
    number = BATCHES * FILES
    ms = 1000 / number
    return Rates(number / came_s, ms * came_cpu_s, number / there_s, ms * there_cpu_s)


def _queue(client: httpx.Client, what: str) -> None:
    client.post(f"/v1/queue/{what}", json={}, headers=_by(ADMIN_KEY)).raise_for_status()


def _key(client: httpx.Client, number: int) -> str:
    asked = {"name": f"{number}", "owner": f"own_{number}", "tier": "enterprise"}
    answer = client.post("/v1/keys", json=asked, headers=_by(ADMIN_KEY))
    answer.raise_for_status()
    return str(answer.json()["secret"])


def _by(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _send(system: System, keys: list[str], files: Files, number: int) -> list[tuple[str, str]]:
    """Send so many batches, of these owners in turn; return their addresses and keys."""
    sent = []
    for each in range(number):
        key = keys[each % len(keys)]
        answer = system.client.post(
            "/v1/batches", files=files, data={"pipeline": "web"}, headers=_by(key)
        )
        assert answer.status_code == 202, answer.text
        sent.append((f"/v1/batches/{answer.json()['id']}", key))
    return sent


def _wait(system: System, sent: list[tuple[str, str]]) -> None:
    for path, key in sent:
        while True:
            batch = system.client.get(path, headers=_by(key)).raise_for_status().json()
            if batch["status"] in FINAL:
                break
            time.sleep(0.02)
        assert batch["status"] == "completed", batch


def _table(found: dict[int, list[Rates]]) -> str:
    medians = {
        owners: Rates(*map(median, zip(*rounds, strict=True))) for owners, rounds in found.items()
    }
    alone = medians[OWNERS[0]]
    lines = [
        "# Owners who share a machine\n",
        f"{BATCHES} batches of {FILES} pictures of 64 × 64; medians of {ROUNDS} rounds;"
        f" {circumstances()}.\n",
        "| owners | files/s as they come | ÷ one owner | CPU ms a file"
        " | files/s, all there | ÷ one owner | CPU ms a file |",
        "| --- " * 7 + "|",
    ]
    for owners, one in medians.items():
        lines.append(
            f"| {owners} | {one.came:.0f} | {one.came / alone.came:.2f} | {one.came_ms:.1f}"
            f" | {one.there:.0f} | {one.there / alone.there:.2f} | {one.there_ms:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
