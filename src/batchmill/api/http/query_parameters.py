"""Refuses unknown query parameters: a misspelt filter must not show everything.

Below `/api/` they are left alone: clients of the reference documents go on working as they are.
"""

from difflib import get_close_matches

from fastapi import Request
from fastapi.routing import APIRoute

from batchmill.api.http.json_body import NO_NULL
from batchmill.api.http.problems import REFERENCE
from batchmill.errors.request import InvalidFieldError, MalformedRequestError, NotFoundError


async def only_known(request: Request) -> None:
    """Check the names of a request's query parameters, and that no database stumbles on a value.

    Raises:
        InvalidFieldError: one is unknown; the message names the nearest.
        MalformedRequestError, NotFoundError: the address holds a character that no text has.
    """
    for name, value in request.path_params.items():
        if "\0" in str(value):
            raise NotFoundError(name.removesuffix("_id"), value)
    if any("\0" in value for value in request.query_params.values()):
        raise MalformedRequestError(NO_NULL)
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    if request.url.path.startswith(REFERENCE):
        return
    known = [field.alias for field in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise InvalidFieldError(_sentence(name, known))


def _sentence(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"There is no query parameter `{name[:40]}`. Did you mean `{near[0]}`?"
    if known:
        return f"There is no query parameter `{name[:40]}`. Known: {', '.join(sorted(known))}."
    return f"There is no query parameter `{name[:40]}`: this address takes none."
