"""batchmill: a self-hosted processor for batches of files.

    from batchmill import process_batch_sync

    result = process_batch_sync(["a.jpg", "b.png"], "web", output_dir="out")

The names below are the public ones; each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchmill.client.anywhere import Processed as Processed
    from batchmill.client.async_client import AsyncClient as AsyncClient
    from batchmill.client.client import Client as Client
    from batchmill.errors.base import BatchmillError as BatchmillError
    from batchmill.errors.item import ProcessingError as ProcessingError
    from batchmill.local.process import process_batch as process_batch
    from batchmill.local.process import process_batch_sync as process_batch_sync
    from batchmill.local.results import BatchResult as BatchResult
    from batchmill.local.results import ItemResult as ItemResult
    from batchmill.local.results import Progress as Progress
    from batchmill.model.pipeline import Pipeline as Pipeline
    from batchmill.model.pipeline import Step as Step

__version__ = "0.1.0"

_PUBLIC = {
    "AsyncClient": "batchmill.client.async_client",
    "Client": "batchmill.client.client",
    "Processed": "batchmill.client.anywhere",
    "BatchmillError": "batchmill.errors.base",
    "ProcessingError": "batchmill.errors.item",
    "process_batch": "batchmill.local.process",
    "process_batch_sync": "batchmill.local.process",
    "BatchResult": "batchmill.local.results",
    "ItemResult": "batchmill.local.results",
    "Progress": "batchmill.local.results",
    "Pipeline": "batchmill.model.pipeline",
    "Step": "batchmill.model.pipeline",
}


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'batchmill' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
