"""Takes a photo through the product and prints, as JSON, every function that was entered.

Run in a process of its own by `meters.py`: `traced_photo.py server|run FOLDER`.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import batchmill

PACKAGE = str(Path(batchmill.__file__).parent) + os.sep
DEADLINE_S = 120.0
SLOW_S = 30.0


class Tracer:
    """Notes the functions of the package that any thread enters while it is on."""

    def __init__(self) -> None:
        self.on = False
        self._entered: set[CodeType] = set()

    def install(self) -> None:
        """Watch this thread and those that start from now on."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def _note(self, frame: FrameType, event: str, _argument: object) -> None:
        if self.on and event == "call":
            self._entered.add(frame.f_code)

    def functions(self) -> list[str]:
        """Return `file:line:name` of what was entered; a module's or class's own body is none."""
        return sorted(
            f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_firstlineno}:{code.co_qualname}"
            for code in self._entered
            if code.co_filename.startswith(PACKAGE) and code.co_flags & CO_OPTIMIZED
        )


CO_OPTIMIZED = 0x0001
"""Set for functions, lambdas and comprehensions, not for bodies of modules and classes."""


def main(way: str, folder: Path) -> None:
    """Trace one photo and print what it passed."""
    photo = folder / "photo.jpg"
    _draw(photo)
    tracer = Tracer()
    if way == "run":
        _run(tracer, photo, folder / "out")
    else:
        _serve(tracer, photo, folder / "data")
    print()
    print(json.dumps(tracer.functions()))


def _draw(path: Path) -> None:
    import pyvips

    noise = pyvips.Image.gaussnoise(640, 480, mean=128, sigma=40).cast("uchar")
    noise.bandjoin([noise, noise]).copy(interpretation="srgb").write_to_file(str(path))


def _run(tracer: Tracer, photo: Path, output: Path) -> None:
    from batchmill.cli.main import main as command

    sys.argv = ["batchmill", "run", "web", str(photo), "-o", str(output)]
    tracer.install()
    tracer.on = True
    try:
        command()
    except SystemExit as end:
        tracer.on = False
        if end.code:
            raise
    if not list(output.iterdir()):
        raise RuntimeError("no result was written")


def _serve(tracer: Tracer, photo: Path, data: Path) -> None:
    from batchmill import bootstrap
    from batchmill.settings import loading

    settings = loading.load(
        {},
        None,
        {
            "data_dir": data,
            "port": 0,
            "children": 1,
            "sweep_s": SLOW_S,
            "renew_s": SLOW_S,
            "lease_s": 4 * SLOW_S,
        },
    )
    failures: list[BaseException] = []

    def on_ready(address: str) -> None:
        given = {"photo": photo, "data": data, "failures": failures}
        threading.Thread(target=_client, args=(tracer, address), kwargs=given).start()

    tracer.install()
    asyncio.run(bootstrap.serve(settings, on_ready=on_ready))
    if failures:
        raise failures[0]


def _client(
    tracer: Tracer, address: str, *, photo: Path, data: Path, failures: list[BaseException]
) -> None:
    """Send two photos, one after the other; the second is traced. Enters no code of the package."""
    sys.setprofile(None)
    try:
        _send(address, photo)
        _wait(lambda: _ended(data) == 1)
        tracer.on = True
        _send(address, photo)
        _wait(lambda: _ended(data) == 2)
        tracer.on = False
    except BaseException as error:
        failures.append(error)
        raise
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def _send(address: str, photo: Path) -> None:
    import httpx

    with photo.open("rb") as file:
        answer = httpx.post(
            f"{address}/v1/batches",
            files={"files": ("photo.jpg", file, "image/jpeg")},
            data={"pipeline": "web"},
        )
    if answer.status_code != httpx.codes.ACCEPTED:
        raise RuntimeError(answer.text)


def _ended(data: Path) -> int:
    """Count batches that have ended; the database is read past the product."""
    with closing(sqlite3.connect(data / "batchmill.sqlite3", timeout=30)) as conn:
        row: Any = conn.execute(
            "SELECT count(*) FROM batches WHERE status = 'completed'"
        ).fetchone()
    return int(row[0])


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the batch did not end")
        time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
