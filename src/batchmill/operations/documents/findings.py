"""What a reader gathers on its way besides the document itself: notes, files and times."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from batchmill.operations.contract import ExtraFile, Work


@dataclass(slots=True)
class Findings:
    """Filled while one file is read. Each note is kept once, in the order of its first mention."""

    work: Work
    warnings: list[str] = field(default_factory=list)
    limits_hit: list[str] = field(default_factory=list)
    files: list[ExtraFile] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)
    _made: int = 0

    @property
    def name(self) -> str:
        """What the file is called in messages."""
        return self.work.source.name

    def warn(self, sentence: str) -> None:
        """Note something that a person should know."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def hit(self, limit: str, sentence: str) -> None:
        """Note that a limit cut the analysis short."""
        if limit not in self.limits_hit:
            self.limits_hit.append(limit)
        self.warn(sentence)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the time spent inside to `timings_ms[part]`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = (time.perf_counter() - began) * 1000
            self.timings_ms[part] = round(self.timings_ms.get(part, 0.0) + spent, 3)

    def output(self, ending: str, media_type: str) -> Path:
        """Return where to write an output called like the source, with this ending (`.txt`)."""
        stem = PurePath(self.name.replace("\\", "/")).name.rpartition(".")[0] or "document"
        self._made += 1
        path = self.work.folder / f"output-{self._made}{ending[ending.rindex('.') :]}"
        self.files.append(ExtraFile(path, f"{stem}{ending}", media_type))
        return path

    def drop(self, path: Path) -> None:
        """Take an output back; other paths are left alone."""
        kept = [file for file in self.files if file.path != path]
        if len(kept) < len(self.files):
            path.unlink(missing_ok=True)
        self.files = kept
