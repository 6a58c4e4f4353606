"""A pool of children that run `misbehaving.execute`, and jobs for it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from batchmill.model.limits import Limits
from batchmill.sandbox.child_process import Hooks
from batchmill.sandbox.messages import Job, JobStep, Report
from batchmill.sandbox.pool import Pool

HERE = Path(__file__).parent


class PoolSession:
    """A pool with a way to run one job in a line."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def job(
        self, *uses: str, body: bytes = b"hello", limits: Limits | None = None, **options: object
    ) -> Job:
        folder = self.pool.scratch.new("attempt")
        (folder / "work").mkdir(parents=True)
        (folder / "source").write_bytes(body)
        return Job(
            source=str(folder / "source"),
            folder=str(folder / "work"),
            name="cat.jpg",
            steps=tuple(JobStep(use, options=options, id=use) for use in uses),
            limits=limits or Limits(),
        )

    async def run(self, *uses: str, owner: str = "anna", wall_s: float = 60, **more: Any) -> Report:
        hooks = Hooks(on_progress=more.pop("on_progress", None))
        job = self.job(*uses, **more)
        return await self.pool.run(job, owner=owner, wall_s=wall_s, hooks=hooks)

    def pids(self) -> list[int]:
        """Return the process ids of the children that are alive."""
        return [each.pid for each in (*self.pool._idle, *self.pool._busy) if each.alive]

    async def busy(self, children: int = 1) -> None:
        """Wait until so many children are at work."""
        async with asyncio.timeout(60):
            while self.pool.stats().busy < children:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)

    async def bereft(self) -> None:
        """Wait until the pool knows that its children are dead."""
        async with asyncio.timeout(60):
            while self.pids():
                await asyncio.sleep(0.01)


def left(job: Job) -> bytes:
    """Return what the job has copied."""
    return Path(job.folder, "copy").read_bytes()


@asynccontextmanager
async def opened(
    scratch: Path, size: int = 1, *, executor: str = "misbehaving", **more: Any
) -> AsyncIterator[PoolSession]:
    environ = {**os.environ, "PYTHONPATH": str(HERE), **more.pop("environ", {})}
    pool = Pool(size, scratch, executor=executor, environ=environ, **more)
    try:
        yield PoolSession(pool)
    finally:
        await pool.aclose()


def files_left(pool: Pool) -> list[str]:
    """Return what lies in the folders of attempts."""
    folders = pool.scratch.path.glob("attempt-*")
    return [str(path) for folder in folders for path in folder.rglob("*") if not path.is_dir()]


def staged(job: Job) -> bytes:
    """Return the job's source as it lies in the attempt's folder."""
    return Path(job.source).read_bytes()


Story = Callable[[PoolSession], Coroutine[None, None, None]]


class RunStory(Protocol):
    """Runs a story with a pool that is made for it as `more` says."""

    def __call__(self, story: Story, **more: Any) -> None: ...


@pytest.fixture
def with_server_context(tmp_path: Path) -> RunStory:
    """Run a coroutine function with a pool below a folder of the test's own."""

    def run(story: Story, **more: Any) -> None:
        async def main() -> None:
            async with opened(tmp_path / "scratch", **more) as context:
                await story(context)
            assert list((tmp_path / "scratch").iterdir()) == []

        asyncio.run(main())

    return run


@pytest.fixture(scope="module")
def in_shared_server_context(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Story], None]]:
    """Run coroutine functions with one pool for a whole module, for tests that start no pool."""
    with asyncio.Runner() as runner:
        opening = opened(tmp_path_factory.mktemp("shared") / "scratch")
        context = runner.run(opening.__aenter__())
        yield lambda story: runner.run(story(context))
        runner.run(opening.__aexit__(None, None, None))
