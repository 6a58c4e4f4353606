"""A model's server that misbehaves in every way we know: what the item says, how often it is asked.

The children are real, the server is a real one on loopback, and nothing of the client is replaced.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill.local.results import ItemResult
from support.local_runs import Process, process
from support.pictures import scene
from support.vision_server import VisionServer

__all__ = ["process"]

UNUSABLE = "the model's answer about a.jpg can't be used"
REFUSED = "the model's server refused the question about a.jpg"
KEY = "the model's server does not accept the key that is set"

# behaviour, code (None: described), words of the sentence, calls, attempts, may pass
TABLE = [
    ("ok", None, "", 1, 1, False),
    ("slow", None, "", 1, 1, False),
    ("fenced", None, "", 1, 1, False),
    ("prose_around", None, "", 1, 1, False),
    ("hostile", None, "", 1, 1, False),
    ("prose", "model_answer", f"{UNUSABLE}: it holds no JSON object", 2, 1, False),
    ("wrong_schema", "model_answer", f"{UNUSABLE}: its title is missing or no text", 2, 1, False),
    ("cut_off", "model_answer", f"{UNUSABLE}: it was cut off for its length", 2, 1, False),
    ("no_chat", "model_answer", f"{UNUSABLE}: it is no answer of a chat", 2, 1, False),
    ("huge", "model_answer", f"{UNUSABLE}: it has more than 1,000,000 bytes", 2, 1, False),
    ("refusal", "model_refusal", "will not describe a.jpg: I can't help with that.", 1, 1, False),
    ("filtered", "model_refusal", "its provider filtered the answer", 1, 1, False),
    ("bad_request", "model_rejected", f"{REFUSED} (HTTP 400): It says invalid_im", 1, 1, False),
    ("no_model", "model_rejected", f"{REFUSED} (HTTP 404): It says model_not_fou", 1, 1, False),
    ("unprocessable", "model_rejected", f"{REFUSED} (HTTP 422): It says unproce", 1, 1, False),
    ("redirect", "model_rejected", f"{REFUSED} (HTTP 307)", 1, 1, False),
    ("wrong_key", "model_key_refused", f"{KEY} (HTTP 401)", 1, 1, False),
    ("no_permission", "model_key_refused", f"{KEY} (HTTP 403)", 1, 1, False),
    ("no_credit", "model_quota", "has no credit left", 1, 1, False),
    ("busy", "model_busy", "it asks to wait 1 s", 2, 2, True),
    ("fault", "model_unavailable", "answered with a fault (HTTP 500)", 2, 2, True),
    ("overloaded", "model_unavailable", "answered with a fault (HTTP 503)", 2, 2, True),
    ("html", "model_unavailable", "answered with a fault (HTTP 502)", 2, 2, True),
    ("drop", "model_unavailable", "could not be reached, or broke off", 2, 2, True),
    ("break_off", "model_unavailable", "could not be reached, or broke off", 2, 2, True),
]

Described = Callable[..., ItemResult]


@pytest.fixture
def described(process: Process, tmp_path: Path) -> Described:
    """Have one picture described."""
    path = tmp_path / "a.jpg"
    scene(300, 200).write_to_file(str(path))

    def run(**more: float) -> ItemResult:
        (item,) = process([path], "describe", **more).items
        return item

    return run


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_what_the_item_says_and_how_often_the_model_was_asked(
    vision: VisionServer,
    row: tuple[str, str | None, str, int, int, bool],
    described: Described,
) -> None:
    behaviour, code, words, calls, attempts, may_pass = row
    vision.usual = behaviour
    vision.seconds = 0.2

    item = described()

    assert len(vision.asked) == calls
    assert item.attempts == attempts
    if code is None:
        assert item.ok, item.error
        assert item.data["title"]
        return
    assert item.error is not None
    assert item.error.code == code
    assert words in item.error.message
    assert item.error.retryable is may_pass
    assert "sk-a-made-up-key" not in item.error.message


@pytest.mark.parametrize("first", ["prose", "wrong_schema", "cut_off", "busy", "fault", "drop"])
def test_a_second_answer_that_is_right_counts(
    vision: VisionServer, first: str, described: Described
) -> None:
    vision.then(first)

    item = described()

    assert item.ok
    assert len(vision.asked) == 2


def test_an_answer_that_was_cut_off_gets_more_room(
    vision: VisionServer, described: Described
) -> None:
    vision.then("cut_off")

    item = described()

    first, second = (asked.body["max_tokens"] for asked in vision.asked)
    assert second == 2 * first
    assert item.data["usage"]["calls"] == 2
    assert item.data["usage"]["input_tokens"] == 1_800


def test_a_server_that_never_answers_is_hung_up_on(
    vision: VisionServer, described: Described
) -> None:
    vision.usual = "never"

    item = described(timeout_s=3)

    assert item.error is not None
    assert (item.error.code, item.attempts) == ("attempt_timeout", 1)
    assert vision.asked[0].closed.wait(60)


@pytest.mark.long
def test_a_call_over_its_own_time_is_tried_again(
    vision: VisionServer, monkeypatch: pytest.MonkeyPatch, described: Described
) -> None:
    monkeypatch.setenv("BATCHMILL_LLM_TIMEOUT_S", "3")
    vision.then("never")

    item = described()

    assert item.ok
    assert item.attempts == 2
    assert vision.asked[0].closed.wait(60)


def test_a_server_that_is_not_there_is_said_to_be_so(
    vision: VisionServer, monkeypatch: pytest.MonkeyPatch, described: Described
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")

    item = described(retries=0)

    assert item.error is not None
    assert item.error.code == "model_unavailable"


def test_the_next_question_comes_when_the_server_wants_it(
    vision: VisionServer, described: Described
) -> None:
    vision.then("busy")
    vision.retry_after = "2"

    assert described().ok
    first, second = (asked.at_s for asked in vision.asked)
    assert second - first >= 2


def test_a_wait_of_hours_is_not_waited_for_in_a_run(
    vision: VisionServer, described: Described
) -> None:
    vision.usual, vision.retry_after = "busy", "7200"

    item = described(retries=5)

    assert item.error is not None
    assert "7200 s" in item.error.message
    assert len(vision.asked) == 1
