"""A hundred batches of three small pictures from one owner, and from up to twenty.

    make bench-owners

`serve` with its own worker and SQLite, as it is started with one command. The time is that from the
first request to the end of the last batch, so it includes taking the files in. Every count of
owners has a server of its own, in turn, BENCH_ROUNDS times. Writes benchmarks/results/owners.md.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import pyvips
from systems import System, batchmill, circumstances

HERE = Path(__file__).parent
OWNERS = (1, 2, 3, 5, 20)
BATCHES = int(os.environ.get("BENCH_BATCHES", "100"))
FILES = 3
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ADMIN_KEY = "bm_benchmark-administrator-of-this-run-alone"
FINAL = ("completed", "completed_with_errors", "failed", "cancelled")


def main() -> None:
    files = _pictures()
    found: dict[int, list[tuple[float, float]]] = {owners: [] for owners in OWNERS}
    for number in range(ROUNDS):
        for owners in OWNERS:
            found[owners].append(_measured(owners, files))
            print(number + 1, owners, round(found[owners][-1][0], 1), flush=True)
    table = _table(found)
    print(table)
    (HERE / "results/owners.md").write_text(table, encoding="utf-8")


def _pictures() -> list[tuple[str, tuple[str, bytes]]]:
    noise = [pyvips.Image.gaussnoise(64, 64, mean=128, sigma=30, seed=n) for n in range(FILES)]
    bodies = [each.cast("uchar").pngsave_buffer() for each in noise]
    return [("files", (f"{n}.png", body)) for n, body in enumerate(bodies)]


def _measured(owners: int, files: list[tuple[str, tuple[str, bytes]]]) -> tuple[float, float]:
    """Return files a second, and CPU milliseconds a file of the server and its children."""
    with (
        tempfile.TemporaryDirectory() as name,
        batchmill(Path(name) / "data", BATCHMILL_ADMIN_KEY=ADMIN_KEY) as system,
    ):
        keys = [_key(system.client, number) for number in range(owners)]
        _run(system, keys[:1], files, 3)  # children are there, and code is warm
        spent_s, began = system.cpu_s()["server"], time.monotonic()
        _run(system, keys, files, BATCHES)
        passed_s = time.monotonic() - began
        spent_s = system.cpu_s()["server"] - spent_s
    number = BATCHES * FILES
    return number / passed_s, 1000 * spent_s / number


def _key(client: httpx.Client, number: int) -> str:
    asked = {"name": f"{number}", "owner": f"own_{number}", "tier": "enterprise"}
    answer = client.post("/v1/keys", json=asked, headers=_by(ADMIN_KEY))
    answer.raise_for_status()
    return str(answer.json()["secret"])


def _by(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _run(
    system: System, keys: list[str], files: list[tuple[str, tuple[str, bytes]]], number: int
) -> None:
    """Send so many batches, of these owners in turn, and wait until all have ended."""
    sent = []
    for each in range(number):
        by = _by(keys[each % len(keys)])
        answer = system.client.post(
            "/v1/batches", files=files, data={"pipeline": "web"}, headers=by
        )
        assert answer.status_code == 202, answer.text
        sent.append((f"/v1/batches/{answer.json()['id']}", by))
    for path, by in sent:
        while True:
            batch = system.client.get(path, headers=by).raise_for_status().json()
            if batch["status"] in FINAL:
                break
            time.sleep(0.02)
        assert batch["status"] == "completed", batch


def _table(found: dict[int, list[tuple[float, float]]]) -> str:
    alone = statistics.median(rate for rate, _ in found[OWNERS[0]])
    lines = [
        "# Owners who share a machine\n",
        f"{BATCHES} batches of {FILES} pictures of 64 × 64; medians of {ROUNDS} rounds;"
        f" {circumstances()}.\n",
        "| owners | files/s | ÷ one owner | CPU ms a file |",
        "| --- " * 4 + "|",
    ]
    for owners, rounds in found.items():
        rate = statistics.median(rate for rate, _ in rounds)
        spent_ms = statistics.median(spent_ms for _, spent_ms in rounds)
        lines.append(f"| {owners} | {rate:.0f} | {rate / alone:.2f} | {spent_ms:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
