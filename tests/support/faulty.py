"""Makes the misbehaving operations of `plugin` known to this process and its children."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchmill.operations import registry

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin's module; `CALLS` is new for every test."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGIN))
    monkeypatch.syspath_prepend(str(PLUGIN))
    _forget()
    module = importlib.import_module("batchmill_faulty")
    yield module
    sys.modules.pop("batchmill_faulty")
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    registry.get.cache_clear()
    registry._installed.cache_clear()
