"""describe: let a vision model write title, description, keywords, category and alt text.

    copy made in a child (small, no metadata) ─► reserve ─► ask ─► settle ─► read the answer

An answer that can't be used is asked for once more, at once; everything else that may pass is
left to the retries of the item.
"""

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from batchmill.errors.item import (
    ItemError,
    ModelAnswerError,
    ModelKeyRefusedError,
    ModelQuotaError,
    ModelRefusalError,
    ModelRejectedError,
)
from batchmill.errors.outage import ModelBusyError, ModelUnavailableError, OutageError
from batchmill.errors.request import ModelKeyMissingError
from batchmill.model.media import Family
from batchmill.model.pipeline import Step
from batchmill.operations.contract import Copy, Options, RemoteCall
from batchmill.operations.vision import captions, questions, reading
from batchmill.operations.vision.model import (
    MODEL,
    Ask,
    Clients,
    Detail,
    ModelAnswer,
    Prices,
    Question,
)

_SIDE_PX: Mapping[Detail, int] = {"low": 512, "high": 1_024}
_GLANCE_PX = 64
_COPY_QUALITY = 85
_MORE_ROOM = 2
MICROUSD = 1_000_000


class DescribeOptions(Options):
    """Options of `describe`."""

    provider: Literal["openai", "local"] = Field(
        "openai",
        description="openai asks the model that the settings name, at OpenAI or any server that "
        "speaks its API. local asks nobody and writes down colours and shape only.",
    )
    language: str = Field(
        "en",
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,2}$",
        description="Language of the texts, as en, de or pt-BR; the category stays English.",
    )
    keywords: int = Field(15, ge=1, le=50, description="Most keywords.")
    detail: Detail = Field(
        "low",
        description="How much of the picture is sent: low 512 px on the longer side, high 1,024 px "
        "(small things and small print; several times the tokens).",
    )
    context: str = Field(
        "",
        max_length=500,
        description="What the model should know of all pictures, as: shoes of a shop's catalogue.",
    )
    budget_usd: float | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Most US dollars that a batch may cost; needs the model's prices in the "
        "settings. Files beyond it fail and can be retried.",
    )
    send: Literal["auto", "data"] = Field(
        "auto",
        description="How the picture reaches the model: auto by a signed address that lasts for "
        "the call where the server has a public_url, else inside the question; data always inside.",
    )


@dataclass(frozen=True, slots=True)
class _Usage:
    """Tokens of all calls for one file."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, answer: ModelAnswer) -> "_Usage":
        return _Usage(
            self.calls + 1,
            self.input_tokens + answer.input_tokens,
            self.output_tokens + answer.output_tokens,
        )

    def to_json(self, prices: Prices | None) -> dict[str, Any]:
        """Return the tokens and, where they are counted and prices are known, what they cost."""
        cost_usd = None
        if prices is not None and self.input_tokens:
            cost_usd = prices.microusd(self.input_tokens, self.output_tokens) / MICROUSD
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": cost_usd,
        }


def prepare(options: DescribeOptions) -> tuple[Step, ...]:
    """Return the transforms that make the copy: small, one frame, JPEG, no metadata."""
    local = options.provider == "local"
    side_px = _GLANCE_PX if local else _SIDE_PX[options.detail]
    jpeg = {"format": "jpeg", "quality": _COPY_QUALITY, "keep": "none", "animated": False}
    return (
        Step("resize", {"width": side_px, "height": side_px}, id="copy"),
        *([Step("glance", id="glance")] if local else []),
        Step("convert", jpeg, id="copy-format"),
    )


def needs(options: DescribeOptions) -> str | None:
    """Return the client without which the call can't be made."""
    return None if options.provider == "local" else MODEL


async def call(copy: Copy, options: DescribeOptions, clients: Clients) -> Mapping[str, Any]:
    """Return what is added to the item's data.

    Raises:
        ModelRefusalError, ModelAnswerError, BudgetUsedUpError: this file gets no description.
        ItemError, OutageError: as the model's server says.
        ModelKeyMissingError: no model is set up any more.
    """
    if options.provider == "local":
        return captions.caption(copy)
    if clients.ask is None:
        raise ModelKeyMissingError
    asking = _Conversation(clients.ask, clients, copy, options)
    async with _address(copy, options, clients) as url:
        return await asking.described(url)


@dataclass(frozen=True, slots=True)
class _Conversation:
    """One file's questions."""

    ask: Ask
    clients: Clients
    copy: Copy
    options: DescribeOptions

    async def described(self, url: str) -> Mapping[str, Any]:
        """Ask, and once more, with more room, when the answer can't be used."""
        question, usage = self._question(url), _Usage()
        roomier = replace(question, answer_tokens=question.answer_tokens * _MORE_ROOM)
        for asked in (question, roomier):
            try:
                answer = await self._paid(asked)
                usage = usage.plus(answer)
                return self._read(answer, usage)
            except ModelAnswerError as error:
                flaw = error
        raise flaw

    def _question(self, url: str) -> Question:
        options = self.options
        return Question(
            name=self.copy.name,
            instruction=questions.instruction(
                language=options.language, keywords=options.keywords, context=options.context
            ),
            image_url=url,
            schema=questions.schema(options.keywords),
            detail=options.detail,
            answer_tokens=questions.answer_tokens(options.keywords),
        )

    def _read(self, answer: ModelAnswer, usage: _Usage) -> dict[str, Any]:
        if answer.refusal is not None:
            raise ModelRefusalError(self.copy.name, reading.plain(answer.refusal, 200))
        if answer.truncated:
            raise ModelAnswerError(self.copy.name, "it was cut off for its length")
        keywords = self.options.keywords
        return {
            **reading.description(answer.text, name=self.copy.name, keywords=keywords),
            "language": self.options.language,
            "source": "model",
            "model": answer.model,
            "usage": usage.to_json(self.clients.prices),
        }

    async def _paid(self, question: Question) -> ModelAnswer:
        """Ask within the budget; what may have been answered counts as spent, heard or not."""
        prices, budget = self.clients.prices, self.clients.budget
        if prices is None or budget is None:
            return await self.ask(question)
        width, height = self.copy.width or 0, self.copy.height or 0
        tokens = questions.most_input_tokens(question, width, height)
        reserved = prices.microusd(tokens, question.answer_tokens)
        await budget.reserve(reserved, most=_cap(self.options))
        try:
            answer = await self.ask(question)
        except (ItemError, OutageError) as error:
            if _was_refused(error):
                await budget.settle(reserved, 0)
            raise
        if answer.input_tokens:  # else its server doesn't count, and nothing better is known
            spent = prices.microusd(answer.input_tokens, answer.output_tokens)
            await budget.settle(reserved, spent)
        return answer


def _was_refused(error: ItemError | OutageError) -> bool:
    """Tell whether a question surely was not answered: whatever else went wrong may be billed."""
    match error:
        case ModelUnavailableError():
            return error.unasked
        case ModelBusyError() | ModelRejectedError() | ModelKeyRefusedError() | ModelQuotaError():
            return True
    return False


def _cap(options: DescribeOptions) -> int | None:
    return None if options.budget_usd is None else round(options.budget_usd * MICROUSD)


@asynccontextmanager
async def _address(copy: Copy, options: DescribeOptions, clients: Clients) -> AsyncIterator[str]:
    """Yield where the model finds the picture."""
    if options.send == "auto" and clients.publish is not None:
        async with clients.publish(copy.path, copy.media.mime) as url:
            yield url
    else:
        yield f"data:{copy.media.mime};base64,{b64encode(copy.path.read_bytes()).decode()}"


OPERATION = RemoteCall(
    name="describe",
    summary="Title, description, keywords, category and alt text, written by a vision model.",
    version=1,
    accepts=frozenset({Family.IMAGE}),
    options=DescribeOptions,
    prepare=prepare,
    call=call,
    needs=needs,
)
