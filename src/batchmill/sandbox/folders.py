"""The folders of a child, seen by both sides."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from batchmill.sandbox.messages import Job

STEP_BYTES = 256


@dataclass(frozen=True, slots=True)
class ChildFolders:
    """A child reads `inbox` and writes only below `folder`, where each job has one of its own."""

    root: str
    inbox: str
    folder: str
    step: str

    @classmethod
    def at(cls, root: str) -> Self:
        """Return the place below `root`."""
        return cls(root, f"{root}/in", f"{root}/work", f"{root}/step")

    def make(self) -> None:
        """Make its folders."""
        Path(self.inbox).mkdir(parents=True)
        Path(self.folder).mkdir()

    def hold(self, job: Job, number: int, place: int) -> Job:
        """Return the job as the child sees it, with its source and its folder here.

        Folders are used again, one job after the other: making and removing one can take longer
        than the work on a small file.
        """
        source, folder = f"{self.inbox}/{number}", f"{self.folder}/{place}"
        return replace(job, source=source, folder=folder, number=number)

    def last_step(self, job: Job) -> str | None:
        """Return the step of `job` that the child began last, by its own account."""
        try:
            with open(self.step, "rb") as file:  # noqa: PTH123 - a `Path` costs more than the call
                noted = file.read(STEP_BYTES).decode(errors="replace").strip()
        except OSError:
            return None
        return next((step.id for step in job.steps if step.id == noted), None)
