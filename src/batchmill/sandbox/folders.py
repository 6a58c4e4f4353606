"""The folders of a child, seen by both sides."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from batchmill.sandbox.messages import Job

STEP_BYTES = 256


@dataclass(frozen=True, slots=True)
class ChildFolders:
    """A child reads `inbox` and writes only below `folder`, where `job` is the present one's."""

    root: str
    inbox: str
    folder: str
    job: str
    step: str

    @classmethod
    def at(cls, root: str) -> Self:
        """Return the place below `root`."""
        return cls(root, f"{root}/in", f"{root}/work", f"{root}/work/job", f"{root}/step")

    def make(self) -> None:
        """Make its folders."""
        Path(self.inbox).mkdir(parents=True)
        Path(self.folder).mkdir()

    def hold(self, job: Job, number: int) -> Job:
        """Return the job as the child sees it, with its files here."""
        source = f"{self.inbox}/{os.path.basename(job.source)}"  # noqa: PTH119 - see `move`
        return replace(job, source=source, folder=self.job, number=number)

    def last_step(self, job: Job) -> str | None:
        """Return the step of `job` that the child began last, by its own account."""
        try:
            with open(self.step, "rb") as file:  # noqa: PTH123 - a str, see `move`
                noted = file.read(STEP_BYTES).decode(errors="replace").strip()
        except OSError:
            return None
        return next((step.id for step in job.steps if step.id == noted), None)


def move(start: Job, end: Job) -> None:
    """Move the files of a job: renames within one file system.

    Strings, for building a `Path` costs as much as the rename, and this is done twice a file.
    """
    os.rename(start.source, end.source)  # noqa: PTH104
    try:
        os.rename(start.folder, end.folder)  # noqa: PTH104
    except FileNotFoundError:  # an operation has removed its own folder
        os.mkdir(end.folder)  # noqa: PTH102
