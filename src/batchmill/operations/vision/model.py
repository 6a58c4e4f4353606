"""What `describe` asks of a vision model, and what it is given to ask with.

The clients are made above, where the network and the secrets are: `vision/` speaks to servers,
`service/` and `local/` keep the budget and make addresses.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal, Protocol

Detail = Literal["low", "high"]
MODEL = "model"
"""The client that a pipeline needs which asks a vision model."""


@dataclass(frozen=True, slots=True)
class Question:
    """One picture to describe. `name` is the file's, for error messages; it is never sent.

    `image_url` is a `data:` or an `https:` address; `schema` is the JSON Schema of the answer,
    which may have `answer_tokens` at most.
    """

    name: str
    instruction: str
    image_url: str
    schema: Mapping[str, Any]
    detail: Detail
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What the model said. `truncated`: it ran into `answer_tokens`."""

    text: str
    model: str
    refusal: str | None = None
    truncated: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens, which is also millionths of a dollar per token."""

    input_usd: float
    output_usd: float

    def microusd(self, input_tokens: int, output_tokens: int) -> int:
        """Return the price of so many tokens in millionths of a dollar, rounded up."""
        return ceil(input_tokens * self.input_usd + output_tokens * self.output_usd)


class CallBudget(Protocol):
    """Keeps a batch within its budget, however many of its calls run at once.

    Amounts are millionths of a US dollar. What was reserved and never settled, as when a worker
    is killed, counts as spent.
    """

    async def reserve(self, amount: int, *, most: int | None) -> None:
        """Set an amount aside before a call; `most` is the batch's own cap.

        Raises:
            BudgetUsedUpError: it does not fit into a cap any more; nothing is set aside.
        """
        ...

    async def settle(self, reserved: int, spent: int) -> None:
        """Replace a reserved amount by what the call has cost."""
        ...


Ask = Callable[[Question], Awaitable[ModelAnswer]]
"""Asks the model once. Raises ItemError, or OutageError for what may pass."""

Publish = Callable[[Path, str], AbstractAsyncContextManager[str]]
"""Makes a file of a media type readable at an address for the length of the block."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What calls are made with; `ask` is None where no model is set up.

    Without `publish` pictures are sent inside the question. Without `prices` costs are unknown.
    """

    ask: Ask | None = None
    prices: Prices | None = None
    budget: CallBudget | None = None
    publish: Publish | None = None
