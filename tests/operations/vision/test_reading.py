"""What is kept of a model's answer."""

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors.item import ModelAnswerError
from batchmill.operations.vision import questions, reading
from support.vision_server import RIGHT


def read(text: str, keywords: int = 10) -> dict[str, Any]:
    return reading.description(text, name="a.jpg", keywords=keywords)


@pytest.mark.parametrize(
    "wrapped",
    [
        "{}",
        "```json\n{}\n```",
        "```\n{}\n```",
        "Sure, here it is:\n\n```json\n{}\n```\nAnything else?",
        "I used {{braces}} before: {} and after }}",
        "{}{}",
        "\ufeff{}",
    ],
)
def test_the_object_is_found_wherever_it_stands(wrapped: str) -> None:
    text = json.dumps(RIGHT)
    assert read(wrapped.replace("{}", text).replace("{{", "{").replace("}}", "}")) == RIGHT


def test_an_object_that_is_something_else_is_passed_over() -> None:
    assert read('{"thought": "hm"} ' + json.dumps(RIGHT)) == RIGHT


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"title": None}, "its title"),
        ({"title": "\u200b \x00"}, "its title"),
        ({"description": 3}, "its description"),
        ({"keywords": {"a": 1}}, "its keywords"),
        ({"keywords": [1, None, ""]}, "its keywords"),
        ({"category": ["Food"]}, "its category"),
        ({"alt_text": ""}, "its alt_text"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(change: dict[str, Any], flaw: str) -> None:
    with pytest.raises(ModelAnswerError, match=flaw):
        read(json.dumps({**RIGHT, **change}))


@pytest.mark.parametrize(
    "text", ["", "no", "[]", "null", '{"title": NaN}', "{" * 5_000, "[" * 9_000]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ModelAnswerError):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "```" + " " * 1_000_000,
        "```json" * 150_000,
        "```" + "\n{" * 500_000,
    ],
)
def test_a_megabyte_of_nonsense_is_refused_in_no_more_than_a_few_passes(text: str) -> None:
    with pytest.raises(ModelAnswerError):
        read(text)


def test_a_megabyte_of_accents_becomes_a_short_line() -> None:
    accents = "a" + "\u0301" * 250_000 + "\u0316" * 250_000
    title = read(json.dumps({**RIGHT, "title": accents}))["title"]
    assert len(title) == questions.TITLE_CHARACTERS


def test_keywords_in_one_line_and_other_names_are_understood() -> None:
    sent = {**RIGHT, "keywords": "red, bicycle ,Red,, wall", "altText": RIGHT["alt_text"]}
    del sent["alt_text"]

    assert read(json.dumps(sent))["keywords"] == ["red", "bicycle", "wall"]
    assert read(json.dumps(sent), keywords=1)["keywords"] == ["red"]


def test_joiners_stay_for_the_scripts_that_need_them() -> None:
    text = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f680"
    assert reading.plain(text, 50) == text


@given(st.text(), st.integers(1, 60))
def test_a_plain_text_is_one_short_line_without_control_characters(text: str, most: int) -> None:
    line = reading.plain(text, most)

    assert len(line) <= most
    assert line == " ".join(line.split())
    assert all(
        not unicodedata.category(each).startswith("C") or each in "\u200c\u200d" for each in line
    )


@given(st.fixed_dictionaries({name: st.text() | st.lists(st.text()) for name in RIGHT}))
def test_whatever_a_model_says_is_read_within_its_lengths_or_refused(
    sent: dict[str, str | list[str]],
) -> None:
    try:
        found = read(json.dumps(sent), keywords=5)
    except ModelAnswerError:
        return
    assert 0 < len(found["title"]) <= questions.TITLE_CHARACTERS
    assert 0 < len(found["description"]) <= questions.DESCRIPTION_CHARACTERS
    assert 0 < len(found["alt_text"]) <= questions.ALT_TEXT_CHARACTERS
    assert 0 < len(found["keywords"]) <= 5
    assert all(0 < len(word) <= questions.KEYWORD_CHARACTERS for word in found["keywords"])
