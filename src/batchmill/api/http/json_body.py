"""Reads JSON bodies within limits: bytes, depth, silence; no NaN, no broken text."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request

from batchmill.errors.request import (
    BodyTimeoutError,
    MalformedRequestError,
    TooLargeError,
    WrongMediaTypeError,
    over_size,
)

MAX_DEPTH = 32
"""How deep a JSON body may nest; a pipeline needs six levels."""

NO_NULL = "The character U+0000 is in no text that can be kept."


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A decoded body and the digest of its bytes."""

    value: Any
    sha256: str


def media_type(request: Request) -> str:
    """Return the Content-Type without its parameters, lower case; empty when there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def stream(request: Request, *, silence_s: float) -> AsyncIterator[bytes]:
    """Yield the body's pieces.

    Raises:
        BodyTimeoutError: nothing arrived for `silence_s`.
    """
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(silence_s):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise BodyTimeoutError(
                f"No part of the request's body arrived for {silence_s:g} s."
            ) from error
        yield piece  # outside: what the server does with it is no silence


async def read_json(request: Request, *, limit_bytes: int, silence_s: float) -> JsonBody:
    """Read a JSON body; an absent one is an empty object.

    Raises:
        WrongMediaTypeError: the body is of another type.
        TooLargeError: it is longer than `limit_bytes` or nested deeper than `MAX_DEPTH`.
        MalformedRequestError: it is no JSON, or holds NaN or text that can't be kept.
    """
    raw = bytearray()
    async for piece in stream(request, silence_s=silence_s):
        raw += piece
        if len(raw) > limit_bytes:
            raise over_size("The JSON body", limit_bytes, "BATCHMILL_JSON_BYTES")
    if raw and media_type(request) not in {"application/json", ""}:
        raise WrongMediaTypeError("The body must be application/json.")
    return JsonBody(parse(bytes(raw)) if raw else {}, hashlib.sha256(raw).hexdigest())


def parse(raw: bytes | str) -> Any:  # noqa: ANN401 - the JSON border
    """Decode JSON strictly.

    Raises:
        TooLargeError: it is nested deeper than `MAX_DEPTH`.
        MalformedRequestError: it is no JSON, or holds NaN or text that can't be kept.
    """
    try:
        value = json.loads(raw, parse_constant=_refuse_number, parse_float=_finite)
        for text in _texts(value):
            if "\0" in text:
                raise MalformedRequestError(NO_NULL)
            text.encode()
    except RecursionError as error:
        raise _too_deep() from error
    except UnicodeEncodeError as error:
        raise MalformedRequestError(
            "The JSON holds half a character (a lone surrogate)."
        ) from error
    except ValueError as error:
        detail = str(error)[:200]
        raise MalformedRequestError("The body is not well-formed JSON.", detail=detail) from error
    return value


def _texts(value: object) -> Iterator[str]:
    """Yield every text of a value, keys included, and check the depth on the way."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for each in level:
            if isinstance(each, str):
                yield each
            elif isinstance(each, dict):
                yield from each
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        if not inner:
            return
        level = inner
    raise _too_deep()


def _finite(text: str) -> float:
    number = float(text)
    return number if abs(number) != float("inf") else _refuse_number(text)


def _refuse_number(text: str) -> NoReturn:
    raise MalformedRequestError(f"{text[:40]} is not a number that JSON knows.")


def _too_deep() -> TooLargeError:
    return TooLargeError(f"The JSON is nested deeper than {MAX_DEPTH} levels.")
