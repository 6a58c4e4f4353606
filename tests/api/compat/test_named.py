"""The list of what shows each address and feature of the five systems holds what it says."""

import re
from pathlib import Path

from fastapi.routing import APIRoute

from batchmill.api.app import ROUTERS

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "how-to" / "reference-systems.md"
ROW = re.compile(r"^\| (.+) \| `([\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)


def rows() -> list[tuple[str, str, str]]:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("## What shows it")
    found = [(match[1], match[2], match[3]) for match in ROW.finditer(table)]
    assert len(found) == sum(line.startswith("| ") for line in table.splitlines()) - 2 * 5
    return found


def test_every_address_of_the_five_systems_is_named() -> None:
    named = {match[0] for what, _, _ in rows() for match in re.finditer(r"\w+ /api/[^`]+", what)}
    routes = {
        f"{method} {route.path}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.path.startswith("/api/")
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert named == routes


def test_every_test_that_is_named_exists() -> None:
    absent = [
        f"{path}::{name}"
        for _, path, name in rows()
        if not re.search(rf"^(?:async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE)
    ]
    assert not absent
