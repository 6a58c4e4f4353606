import pytest

from batchmill.attempt.reported import MESSAGE_CHARACTERS, STEP_CHARACTERS, exception
from batchmill.errors.item import ItemError, OutOfMemoryError, UnreadableFileError
from batchmill.errors.outage import StorageFullError
from batchmill.sandbox.messages import ReportedError


@pytest.mark.parametrize("kind", [UnreadableFileError, OutOfMemoryError, StorageFullError])
def test_error_of_the_product_comes_back_as_its_own_class(kind: type[ItemError]) -> None:
    error = exception(ReportedError(kind.code, "sentence", retryable=True, detail="private"))
    assert type(error) is kind
    assert (error.message, error.detail) == ("sentence", "private")


def test_failing_step_is_known_to_the_error() -> None:
    error = exception(ReportedError("unreadable_file", "", retryable=False, step="2-resize"))
    assert error.step == "2-resize"


def test_error_of_an_installed_operation_keeps_its_code_budget_and_retries() -> None:
    error = exception(ReportedError("scanner_busy", "wait", retryable=True, budget="timeouts"))
    assert isinstance(error, ItemError)
    assert (error.code, error.retryable, error.budget) == ("scanner_busy", True, "timeouts")


@pytest.mark.parametrize(
    ("code", "budget"), [("Not A Code", "errors"), ("x" * 99, "errors"), ("fine", "money")]
)
def test_error_that_no_operation_could_have_reported_is_a_plain_item_error(
    code: str, budget: str
) -> None:
    assert type(exception(ReportedError(code, "", retryable=True, budget=budget))) is ItemError


def test_endless_name_of_a_step_is_cut() -> None:
    error = exception(ReportedError("unreadable_file", "", retryable=False, step="x" * 10_000))
    assert error.step == "x" * STEP_CHARACTERS


def test_endless_message_is_cut() -> None:
    error = exception(ReportedError("unreadable_file", "x" * 10_000, retryable=False))
    assert len(error.message) == MESSAGE_CHARACTERS
