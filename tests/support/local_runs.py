"""`process_batch_sync` with children that several runs share: what starts them takes a second.

For tests of what becomes of a file; what a run begins with and leaves behind is the subject of
others, which call the library as users do. Import the fixture into a module of tests:

    from support.local_runs import process

    __all__ = ["process"]
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from batchmill.local import items
from batchmill.local import process as whole
from batchmill.local.outputs import Folder, Memory
from batchmill.local.pipelines import limited, resolve
from batchmill.local.results import BatchResult
from batchmill.local.session import Rules, cores, open_session
from batchmill.local.sources import Source, to_inputs
from batchmill.sandbox.pool import Pool
from support.faulty import PLUGIN

Process = Callable[..., BatchResult]
_BACKOFF_S = 0.05


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """As `process_batch_sync`, with the misbehaving operations, and a short first wait.

    Every run has a child of its own.
    """
    owners = (f"run {number}" for number in count())
    scratch = tmp_path_factory.mktemp("shared") / "scratch"

    async def begin() -> Pool:
        return Pool(cores(), scratch, environ={**os.environ, "PYTHONPATH": str(PLUGIN)})

    async def run(
        files: Iterable[Source],
        pipeline: Any,
        *,
        on_progress: Any = None,
        output_dir: Path | None = None,
        **asked: Any,
    ) -> BatchResult:
        chosen = limited(resolve(pipeline), asked)
        chosen = replace(chosen, timeout_s=chosen.timeout_s or whole.TIMEOUT_S)
        at_once = chosen.concurrency or whole.CONCURRENCY
        batch = whole._Batch(to_inputs(files), on_progress)
        rules = Rules(concurrency=at_once, retries=asked.get("retries"))
        outputs = Folder(output_dir) if output_dir else Memory()
        async with open_session(chosen, outputs, rules, output_dir=output_dir) as session:
            shared = replace(session.context, pool=pool, owner=next(owners))
            await whole.process_items(batch, replace(session, context=shared), concurrency=at_once)
        return batch.result()

    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(items, "BACKOFF_S", _BACKOFF_S)
        pool = runner.run(begin())
        yield lambda *args, **asked: runner.run(run(*args, **asked))
        runner.run(pool.aclose())
