"""Asks a server until it answers as wanted."""

import time
from collections.abc import Callable
from typing import Any

import httpx

PATIENCE_S = 120


def until(client: httpx.Client, path: str, holds: Callable[[Any], object]) -> Any:
    """Ask for JSON at `path` until it is as wanted; return it."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        told = client.get(path).json()
        if holds(told):
            return told
        if time.monotonic() > give_up_at:
            break
        time.sleep(0.02)
    raise AssertionError(f"it never got there: {told}")
