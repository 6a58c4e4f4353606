"""A server as users start it: a process of its own, on a free port, with a folder of its own."""

import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from support import preloaded
from support.environment import environment
from support.preloaded import Process


class Server:
    """`batchmill serve`. After `stop` or `kill`, `start` begins again on the same port."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self.data_dir = folder / "data"
        self._settings = settings
        self._process: Process | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        port = self.url.rpartition(":")[2] or "0"
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "log").open("a") as log:
            self._process = preloaded.start(
                ["serve", "--port", port],
                env=environment(BATCHMILL_DATA_DIR=str(self.data_dir), **self._settings),
                stderr=log,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if " listens on " in line:
                self.url = line.split()[-1]
                return
        raise AssertionError((self._folder / "log").read_text())

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> int:
        process = self._process
        assert process is not None
        process.send_signal(how)
        code = process.wait(timeout=60)
        if process.stdout is not None:
            process.stdout.close()
        return code
