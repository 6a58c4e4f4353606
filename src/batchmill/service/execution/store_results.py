"""Puts what an attempt has made into storage: into the bucket for results, where there is one.

When that bucket does not take a file, the file stays in the main storage, the item says so in its
warnings, and the key in its row leads there. Nothing is moved later.
"""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from batchmill import logs
from batchmill.attempt.run import Finished
from batchmill.errors.outage import StorageUnavailableError
from batchmill.logs import Event
from batchmill.model.item import Claim, Output, Result
from batchmill.model.media import BY_MIME
from batchmill.service.context import ServerContext
from batchmill.storage import keys

PATIENCE_S = 30.0
SLOWEST_BYTES_S = 1_000_000
"""How long the bucket may take for a file, and how slow it may be with a large one."""
PAUSE_S = 30.0
"""How long it is then left alone, so that not every file waits for it."""


async def store_results(server: ServerContext, held: Claim, finished: Finished) -> Result:
    """Store an attempt's files and return its result with their keys.

    Raises:
        StorageFullError, StorageUnavailableError: the main storage takes no file.
    """
    outputs, warnings = [], list(finished.result.warnings)
    made = zip(finished.result.outputs, finished.files, strict=True)
    for number, (output, path) in enumerate(made):
        key = keys.output_key(held.batch_id, held.item_id, held.attempt, number)
        stored = await _put_apart(server, key, output, path)
        if stored is None:
            await _put(server, key, output, path)
            if server.settings.results_url is not None:
                warnings.append(f"{output.name} is kept on the server: the bucket did not take it")
        outputs.append(replace(output, key=stored or key))
    return replace(finished.result, outputs=tuple(outputs), warnings=tuple(warnings))


async def _put_apart(server: ServerContext, key: str, output: Output, path: Path) -> str | None:
    """Put a file into the bucket for results; None: there is none, or it does not take it."""
    if server.settings.results_url is None or time.monotonic() < server.vitals.results_away_until_s:
        return None
    media = BY_MIME.get(output.media_type)
    apart = f"{keys.RESULTS}{key}" + (f".{media.extension}" if media else "")
    try:
        async with asyncio.timeout(PATIENCE_S + output.bytes / SLOWEST_BYTES_S):
            await _put(server, apart, output, path)
    except (StorageUnavailableError, TimeoutError) as error:
        detail = getattr(error, "detail", None)
        logs.warning(Event.RESULT_KEPT, key=key, name=output.name, detail=detail)
        server.vitals.results_away_until_s = time.monotonic() + PAUSE_S
        return None
    return apart


async def _put(server: ServerContext, key: str, output: Output, path: Path) -> None:
    await server.storage.put(
        key, path, media_type=output.media_type, name=output.name, sha256=output.sha256
    )
