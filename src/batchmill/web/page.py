"""The web page: one document for every address that people open, and its hashed files.

`hatch_build.py` builds them into `static`, together with what brotli and gzip make of them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import Scope

STATIC: Final = Path(__file__).with_name("static")
ADDRESSES: Final = ("/", "/batches/{batch_id}", "/queue", "/keys", "/settings", "/sign-in")
"""What `frontend/src/router.ts` shows: each can be opened, reloaded and sent to somebody."""
MODULES: Final = ("batchmill.js", "batchmill.d.ts")
"""For pages of other people: what they import, and its types."""
CSP: Final = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'"
)
FOR_EVER: Final = "public, max-age=31536000, immutable"
"""For files whose name holds the hash of their content."""
FOR_MINUTES: Final = "public, max-age=300"
"""For files that keep their name when they change."""
ENCODINGS: Final = MappingProxyType({"br": ".br", "gzip": ".gz"})
"""What may lie beside a file, the smaller first."""
MEDIA_TYPES: Final = MappingProxyType(
    {
        ".css": "text/css; charset=utf-8",
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
        ".ts": "text/plain; charset=utf-8",
    }
)
NOT_BUILT: Final = (
    "The web page is not built in this copy of batchmill. Run `python hatch_build.py` in the"
    " folder of the source and start the server again, or install with `pip install .`.\n"
    "The HTTP API works without it: see /docs.\n"
)


def routes(folder: Path = STATIC) -> list[Route]:
    """Return the routes of the page that was built into `folder`.

    Only files that are there now are ever sent, so no address can name another.
    """
    document = folder / "index.html"
    files = {path.name: path for path in (folder / "assets").glob("*")}

    async def page(request: Request, status: int = 200) -> Response:
        if not document.exists():
            return PlainTextResponse(NOT_BUILT, 503, {"Cache-Control": "no-store"})
        headers = {"Content-Security-Policy": CSP, "Cache-Control": "no-cache"}
        return _send(request, document, headers, status)

    async def unknown(request: Request) -> Response:
        return await page(request, 404)

    async def asset(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None or found.suffix not in MEDIA_TYPES:
            return PlainTextResponse("There is no such file; reload the page.\n", 404)
        return _send(request, found, {"Content-Security-Policy": CSP, "Cache-Control": FOR_EVER})

    async def module(request: Request) -> Response:
        path = folder / request.url.path.rpartition("/")[2]  # one of MODULES: it has a route
        if not path.exists():
            return PlainTextResponse(NOT_BUILT, 503, {"Cache-Control": "no-store"})
        return _send(request, path, {"Cache-Control": FOR_MINUTES})

    found = [*((each, page) for each in ADDRESSES), *((f"/{each}", module) for each in MODULES)]
    found.append(("/assets/{name}", asset))
    known = [Route(address, answer, include_in_schema=False) for address, answer in found]
    return [*known, _Unknown("/{path:path}", unknown, include_in_schema=False)]


class _Unknown(Route):
    """What a person opened and nobody else answers: programs get the API's own answer."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match whatever asks for a document."""
        match, found = super().matches(scope)
        wanted = match is Match.FULL and "text/html" in Headers(scope=scope).get("accept", "")
        return (match, found) if wanted else (Match.NONE, {})


def _send(request: Request, path: Path, headers: Mapping[str, str], status: int = 200) -> Response:
    """Send a file in the smallest encoding that the client takes."""
    told = {**headers, "Vary": "Accept-Encoding"}
    media_type = MEDIA_TYPES[path.suffix]
    for encoding in _taken(request.headers.get("accept-encoding", "")):
        smaller = path.with_name(path.name + ENCODINGS[encoding])
        if smaller.exists():
            told["Content-Encoding"] = encoding
            return FileResponse(smaller, status, headers=told, media_type=media_type)
    return FileResponse(path, status, headers=told, media_type=media_type)


def _taken(accepted: str) -> Iterable[str]:
    """Name our encodings that an Accept-Encoding header names without refusing them (`q=0`)."""
    parts = [part.replace(" ", "").partition(";") for part in accepted.lower().split(",")]
    taken = {name for name, _, quality in parts if quality.rstrip("0.") != "q="}
    return [encoding for encoding in ENCODINGS if encoding in taken]
