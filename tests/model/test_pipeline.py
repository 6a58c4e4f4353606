"""What a pipeline's fields mean, before anything runs."""

import re
from typing import Any

import pytest

from batchmill.errors.request import InvalidPipelineError, UnknownFieldError
from batchmill.model.pipeline import MAX_STEPS, parse


def body(step: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"steps": [{"use": "resize", **(step or {})}], **fields}


@pytest.mark.parametrize(
    "wanted",
    [
        body(),
        body({"if": {"max_bytes": 0}}),
        body({"if": {"min_bytes": 0, "min_width": 0, "min_height": 0}}),
        body({"if": {"types": ["image/png"], "min_width": 10, "max_bytes": 5}}),
        body({"id": "small", "timeout_s": 2, "retries": 0, "on_error": "keep_original"}),
        body(
            name="shop",
            output={"path": "{stem}-x.{ext}"},
            timeout_s=5,
            retries=0,
            concurrency=1,
            family="documents",
            tolerant=True,
        ),
    ],
)
def test_what_was_asked_for_is_stored_and_read_again_without_loss(wanted: dict[str, Any]) -> None:
    stored = parse(wanted).to_json()

    assert parse(stored) == parse(wanted)
    for name, value in wanted["steps"][0].items():
        assert stored["steps"][0][name] == value
    for name in wanted.keys() - {"steps"}:
        assert stored[name] == wanted[name]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"stepz": []}, "pipeline"),
        ({"output": {"paths": "x"}}, "output"),
        ({"steps": [{"use": "resize", "uses": 1}]}, "Step 1"),
        ({"steps": [{"use": "resize", "if": {"max_size": 1}}]}, "if"),
    ],
)
def test_a_field_that_nothing_reads_is_refused_at_every_depth(
    change: dict[str, Any], where: str
) -> None:
    with pytest.raises(UnknownFieldError, match=re.escape(where)):
        parse(body() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"timeout_s": 0},
        {"timeout_s": True},
        {"retries": -1},
        {"retries": 1.5},
        {"concurrency": 0},
        {"tolerant": "yes"},
        {"name": ""},
        {"family": 7},
        {"steps": []},
        {"steps": [{"use": "resize"}] * (MAX_STEPS + 1)},
        {"output": {"path": "{nothing}"}},
        {"steps": [{"use": "resize", "on_error": "ignore"}]},
        {"steps": [{"use": "resize", "timeout_s": 0}]},
        {"steps": [{"use": "resize", "retries": -1}]},
        {"steps": [{"use": "resize", "if": {"min_width": -1}}]},
        {"steps": [{"use": "resize", "if": {"types": "png"}}]},
        {"steps": [{"use": "resize", "with": []}]},
    ],
)
def test_a_value_out_of_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidPipelineError):
        parse(body() | change)


def test_the_retries_of_a_step_hold_for_its_own_failures() -> None:
    steps = [{"use": "resize", "id": "a", "retries": 0}, {"use": "convert", "id": "b"}]
    pipeline = parse({"steps": steps, "retries": 4})

    assert pipeline.retries_in("a") == 0
    assert pipeline.retries_in("b") == 4
    assert pipeline.retries_in(None) == 4


def test_a_failure_of_no_single_step_counts_by_what_all_steps_say() -> None:
    alike = parse({"steps": [{"use": "resize", "retries": 2}] * 2, "retries": 4})
    unlike = parse({"steps": [{"use": "resize", "retries": n} for n in (1, 2)], "retries": 4})

    assert alike.retries_in("encode") == 2
    assert unlike.retries_in("encode") == 4
    assert parse(body()).retries_in(None) is None


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"steps": [{"use": "resize", "with": {"width": 3}}]}, True),
        ({"steps": [{"use": "resize", "on_error": "skip"}]}, True),
        ({"steps": [{"use": "resize", "if": {"max_bytes": 0}}]}, True),
        ({"tolerant": True}, True),
        ({"steps": [{"use": "resize", "timeout_s": 3}]}, False),
        ({"steps": [{"use": "resize", "retries": 3}]}, False),
        ({"retries": 3, "timeout_s": 3, "concurrency": 3, "name": "other"}, False),
    ],
)
def test_the_digest_changes_with_what_can_change_a_result_and_with_nothing_else(
    change: dict[str, Any], *, counts: bool
) -> None:
    assert (parse(body()).digest() != parse(body() | change).digest()) is counts
