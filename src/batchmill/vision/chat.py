"""Asks a vision model through the chat API of OpenAI, which many servers speak.

`openai` is loaded at the first question, in a thread: it takes most of a second. Its own retries
are off, for they would hold up a slot while they wait: there is one retry policy, the items'.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isnan
from typing import TYPE_CHECKING, Any, Final

from batchmill.errors.item import (
    ItemError,
    ModelAnswerError,
    ModelKeyRefusedError,
    ModelQuotaError,
    ModelRejectedError,
)
from batchmill.errors.outage import ModelBusyError, ModelUnavailableError, OutageError
from batchmill.logs import redact
from batchmill.operations.vision.model import ModelAnswer, Question
from batchmill.operations.vision.reading import plain

if TYPE_CHECKING:
    import httpx2
    import openai

MOST_BYTES: Final = 1_000_000
"""Longest answer that is read: a description has a few kB."""
LONGEST_WAIT_S: Final = 86_400.0
_REASON_CHARACTERS: Final = 200
_KEY_REFUSED: Final = frozenset({401, 403})
_BUSY: Final = 429
_PAYMENT: Final = 402
_PASSING: Final = frozenset({408, 409, 425})
_FAULT: Final = 500
_NO_CREDIT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


@dataclass(frozen=True, slots=True)
class ModelServer:
    """Which model, where, and how long one answer may take; no `base_url` means OpenAI."""

    model: str
    timeout_s: float
    api_key: str | None = None
    base_url: str | None = None


class ChatModel:
    """One model of one server. Close it."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._client: openai.AsyncOpenAI | None = None
        self._loading = asyncio.Lock()

    async def ask(self, question: Question) -> ModelAnswer:
        """Ask once; the connection is closed when this is cancelled or takes too long.

        Raises:
            ModelRejectedError, ModelKeyRefusedError, ModelQuotaError: it won't ever be answered.
            ModelAnswerError: the answer is no answer of a chat.
            ModelBusyError, ModelUnavailableError: it may be answered later.
        """
        client = await self._loaded()
        import openai

        try:
            async with asyncio.timeout(self._server.timeout_s):
                response = await client.chat.completions.with_raw_response.create(
                    **self._body(question), extra_headers=self._headers()
                )
        except TimeoutError as error:
            how = f"did not answer within {self._server.timeout_s:g} s"
            raise ModelUnavailableError(question.name, how) from error
        except openai.APIStatusError as error:
            raise _of_status(question.name, error) from error
        except openai.APIConnectionError as error:
            raise _of_connection(question.name, error) from error
        except _TooLongError as error:
            flaw = f"it has more than {MOST_BYTES:,} bytes, or is packed"
            raise ModelAnswerError(question.name, flaw) from error
        return _answer(question.name, response.content)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()

    async def _loaded(self) -> "openai.AsyncOpenAI":
        async with self._loading:
            if self._client is None:
                self._client = await asyncio.to_thread(_connect, self._server)
            return self._client

    def _headers(self) -> dict[str, Any]:
        import openai

        return {} if self._server.api_key else {"Authorization": openai.Omit()}

    def _body(self, question: Question) -> dict[str, Any]:
        """Return the request. OpenAI has renamed the limit; other servers know the old name."""
        limit = "max_tokens" if self._server.base_url else "max_completion_tokens"
        image = {"url": question.image_url, "detail": question.detail}
        content = [
            {"type": "text", "text": question.instruction},
            {"type": "image_url", "image_url": image},
        ]
        schema = {"name": "description", "strict": True, "schema": dict(question.schema)}
        return {
            "model": self._server.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": {"type": "json_schema", "json_schema": schema},
            limit: question.answer_tokens,
        }


def _connect(server: ModelServer) -> "openai.AsyncOpenAI":
    """Return a client that follows no redirect and reads no endless answer."""
    import httpx2
    import openai

    transport = httpx2.AsyncClient(
        timeout=server.timeout_s,
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [_limit]},
    )
    return openai.AsyncOpenAI(
        api_key=server.api_key or "none",
        base_url=server.base_url,
        max_retries=0,
        timeout=server.timeout_s,
        http_client=transport,
    )


class _TooLongError(Exception):
    """An answer is longer than anything that could be meant."""


async def _limit(response: "httpx2.Response") -> None:
    """Let an answer be read only up to `MOST_BYTES`, and only as it is."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _TooLongError
    response.stream = _limited(response.stream)  # type: ignore[arg-type]


def _limited(stream: "httpx2.AsyncByteStream") -> "httpx2.AsyncByteStream":
    import httpx2

    class Limited(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            count = 0
            async for piece in stream:
                count += len(piece)
                if count > MOST_BYTES:
                    raise _TooLongError
                yield piece

        async def aclose(self) -> None:
            await stream.aclose()

    return Limited()


# ---------------------------------------------------------------- errors


def _of_status(name: str, error: "openai.APIStatusError") -> ItemError | OutageError:
    status, detail = error.status_code, redact(str(error))[:1000]
    wait_s = retry_after_s(error.response.headers)
    if status == _PAYMENT or {error.code, error.type} & _NO_CREDIT:
        return ModelQuotaError(detail=detail)
    if status == _BUSY:
        return ModelBusyError(name, wait_s, detail=detail)
    if status >= _FAULT or status in _PASSING:
        how = f"answered with a fault (HTTP {status})"
        refused = status < _FAULT
        return ModelUnavailableError(
            name, how, unasked=refused, retry_after_s=wait_s, detail=detail
        )
    if status in _KEY_REFUSED:
        return ModelKeyRefusedError(status, detail=detail)
    return ModelRejectedError(name, status, _reason(error.body), detail=detail)


def _of_connection(name: str, error: "openai.APIConnectionError") -> OutageError:
    import httpx2
    import openai

    slow = isinstance(error, openai.APITimeoutError)
    how = "did not answer in time" if slow else "could not be reached, or broke off,"
    unasked = isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)
    detail = redact(repr(error.__cause__ or error))
    return ModelUnavailableError(name, how, unasked=unasked, detail=detail)


def _reason(body: object) -> str:
    """Return the server's own sentence, if it sent one, fit for people."""
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    said = body.get("message") if isinstance(body, Mapping) else None
    return plain(redact(said), _REASON_CHARACTERS) if isinstance(said, str) else ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds an answer asks to wait, by a number or a date; None: it doesn't."""
    for header, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return _within(float(headers[header]) / scale)
        except (KeyError, ValueError):
            continue
    try:
        at = parsedate_to_datetime(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return _within((at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _within(seconds: float) -> float:
    return 0.0 if isnan(seconds) else min(max(0.0, seconds), LONGEST_WAIT_S)


# ---------------------------------------------------------------- answers


def _answer(name: str, content: bytes) -> ModelAnswer:
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        ended = choice.get("finish_reason")
        usage = body.get("usage") or {}
        model = plain(str(body.get("model") or ""), 100)
        tokens = [_count(usage.get(kind)) for kind in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ModelAnswerError(name, "it is no answer of a chat") from error
    if ended == "content_filter":
        refusal = refusal or "its provider filtered the answer"
    return ModelAnswer(
        text=text if isinstance(text, str) else "",
        model=model,
        refusal=refusal if isinstance(refusal, str) and refusal else None,
        truncated=ended == "length",
        input_tokens=tokens[0],
        output_tokens=tokens[1],
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 10**9 else 0
