"""The clients of remote calls, as the settings want them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batchmill.errors.request import InvalidOptionError, ModelKeyMissingError
from batchmill.model.pipeline import Pipeline
from batchmill.operations import registry
from batchmill.operations.vision.model import MODEL, Clients, Prices
from batchmill.settings.fields import Settings
from batchmill.vision.chat import ChatModel, ModelServer


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Clients]:
    """Make the clients; none asks a model where no key and no server is set."""
    if not settings.has_model:
        yield Clients()
        return
    key = settings.llm_api_key
    model = ChatModel(
        ModelServer(
            model=settings.llm_model,
            timeout_s=settings.llm_timeout_s,
            api_key=key.get_secret_value() if key else None,
            base_url=settings.llm_base_url,
        )
    )
    try:
        yield Clients(ask=model.ask, prices=prices(settings))
    finally:
        await model.aclose()


def prices(settings: Settings) -> Prices | None:
    """Return what the model costs, where both prices are set."""
    given, made = settings.llm_input_usd, settings.llm_output_usd
    return None if given is None or made is None else Prices(given, made)


def check(pipeline: Pipeline, settings: Settings) -> None:
    """Refuse a checked pipeline that needs a client, or a price, which is not there.

    Raises:
        ModelKeyMissingError: no model is set up.
        InvalidOptionError: a step has a budget, and the model's prices are not known.
    """
    if MODEL in registry.clients_needed(pipeline) and not settings.has_model:
        raise ModelKeyMissingError
    budgets = [step.options.get("budget_usd") for step in pipeline.steps]
    if any(budget is not None for budget in budgets) and prices(settings) is None:
        raise InvalidOptionError(
            "`budget_usd` needs the model's prices: set BATCHMILL_LLM_INPUT_USD and"
            " BATCHMILL_LLM_OUTPUT_USD."
        )
