"""Every error as RFC 9457 shapes it: a sentence, a code and what to do; never what is private."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeGuard

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from batchmill import logs
from batchmill.errors.base import BatchmillError
from batchmill.errors.outage import OutageError, StorageFullError
from batchmill.errors.request import (
    InvalidFieldError,
    QueueFullError,
    RateLimitedError,
    RequestError,
    UnknownPathError,
    WrongMethodError,
)
from batchmill.logs import Event
from batchmill.wire import responses

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
"""When to come back after an outage: about how long a sweep or a restart takes."""
STORAGE_FULL_RETRY_S = 60
QUEUE_FULL_RETRY_S = 60
REFERENCE = "/api/"
"""Below it live the dialects of the reference documents, with errors of a shape of their own."""
CLIENT_GONE = 499
"""What nginx logs for a client that left; nobody receives it."""


def install(app: FastAPI) -> None:
    """Answer every error that a handler raises with a problem."""
    app.add_exception_handler(BatchmillError, _on_known)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_unforeseen)


def problem(error: BatchmillError, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for an error of ours; below `/api/` in the reference documents' shape."""
    more = {**(headers or {}), **_retry_headers(error)}
    if path.startswith(REFERENCE):
        told_there = {"success": False, "error": error.message, "code": error.code}
        return JSONResponse(told_there, error.status, more)
    body = responses.Problem(
        type=f"urn:batchmill:error:{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=error.status,
        detail=error.message,
        code=error.code,
        remedy=error.remedy,
    )
    return Response(body.model_dump_json(), error.status, more, MEDIA_TYPE)


def checked(model: type[BaseModel], body: object, where: str) -> Any:  # noqa: ANN401 - a `model`
    """Read decoded JSON as a request of /v1.

    Raises:
        InvalidFieldError: a field is unknown, missing or wrong; the message names it.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise InvalidFieldError(_sentence(where, model, error.errors()[0])) from error


async def _on_known(request: Request, error: Exception) -> Response:
    if not isinstance(error, BatchmillError):
        raise error
    if not isinstance(error, RequestError):
        logs.warning(Event.REQUEST_FAILED, code=error.code, detail=error.detail)
    return problem(error, request.url.path)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    kind = "path" if first["loc"][0] == "path" else f"{first['loc'][0]} parameter"
    sentence = f"The {kind} `{name}` {_must(first)}."
    return problem(InvalidFieldError(sentence), request.url.path)


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path
    if error.status_code == WrongMethodError.status:
        wrong = WrongMethodError("This address does not take that method.")
        return problem(wrong, path, {"Allow": ", ".join(sorted(_methods(request)))})
    if error.status_code == UnknownPathError.status:
        return problem(UnknownPathError("There is nothing at this address."), path)
    refused = RequestError(str(error.detail))
    return problem(refused, path, error.headers)


def _methods(request: Request) -> set[str]:
    """Return the methods of every route at an address: each route alone knows only its own."""
    found: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


async def _on_unforeseen(request: Request, error: Exception) -> Response:
    logs.error(
        Event.INTERNAL_ERROR,
        exc_info=error,
        method=request.method,
        path=request.url.path,
    )
    unforeseen = BatchmillError("Something went wrong inside the server; nothing was lost.")
    return problem(unforeseen, request.url.path)


def _retry_headers(error: BatchmillError) -> dict[str, str]:
    """Say when to come again, where that is known."""
    match error:
        case StorageFullError():
            return {"Retry-After": str(STORAGE_FULL_RETRY_S)}
        case OutageError():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case QueueFullError():
            return {"Retry-After": str(QUEUE_FULL_RETRY_S)}
        case RateLimitedError():
            usage = {"Limit": error.limit, "Remaining": 0, "Reset": error.retry_after_s}
            headers = {f"RateLimit-{name}": str(value) for name, value in usage.items()}
            return {"Retry-After": str(error.retry_after_s), **headers}
    return {}


def _sentence(where: str, model: type[BaseModel], first: Any) -> str:  # noqa: ANN401 - pydantic's
    path, owner = _place(model, first["loc"])
    if first["type"] == "extra_forbidden" and owner is not None:
        return _unknown(where, path, owner)
    field = owner.model_fields.get(path[-1]) if owner is not None and path else None
    return f"`{'.'.join(path) or where}` {_must(first, field)}."


def _unknown(where: str, path: list[str], owner: type[BaseModel]) -> str:
    *inside, name = path
    known = sorted(owner.model_fields)
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean `{near[0]}`?" if near else f"Known: {', '.join(known)}."
    subject = f"`{'.'.join(inside)}`" if inside else where
    return f"{subject} has no field `{name}`. {hint}"


def _place(
    model: type[BaseModel], loc: tuple[str | int, ...]
) -> tuple[list[str], type[BaseModel] | None]:
    """Return the path to a wrong field and the model that it is, or is not, a field of.

    Pydantic adds marks of its own below a field, such as the branch of a union: they are left out.
    """
    path: list[str] = []
    owner: type[BaseModel] | None = None
    inner: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int):
            path.append(str(part))
        elif inner is not None:
            path.append(part)
            owner, inner = inner, _inner(inner, part)
    return path, owner


def _inner(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """Return the model that a field holds, alone or in a list."""
    field = model.model_fields.get(name)
    if field is None:
        return None
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return next((kind for kind in kinds if _is_model(kind)), None)


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _must(first: Any, field: FieldInfo | None = None) -> str:  # noqa: ANN401 - pydantic's
    """Turn pydantic's "Input should be …" into the end of a sentence of ours."""
    if first["type"] == "missing":
        return "is missing"
    if first["type"] == "string_pattern_mismatch":
        extra = field.json_schema_extra if field is not None else None
        words = extra.get("allowed") if isinstance(extra, dict) else None
        return f"must be {words}" if words else "has characters that are not allowed there"
    text = str(first["msg"]).removeprefix("Value error, ")
    for old, new in (("Input should", "must"), ("String should", "must"), ("List should", "must")):
        text = text.replace(old, new)
    return text[:1].lower() + text[1:] if not text.startswith("must") else text
