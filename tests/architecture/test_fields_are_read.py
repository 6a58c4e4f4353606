"""Every field that a user can set is read somewhere, and a test says what it does.

The fields come from the models, so that a new one fails here until it has a reader and a test.
"""

import ast
import dataclasses
import functools
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from batchmill.model.pipeline import Condition, Pipeline, Step
from batchmill.settings.fields import Settings, Tiers
from batchmill.wire import requests

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "batchmill"
PATHS = [path.relative_to(SOURCE).as_posix() for path in sorted(SOURCE.rglob("*.py"))]
DECLARED = ("settings/fields.py", "settings/compat.py")
STEPS, BATCHES, PAGES = "local/test_steps.py::", "api/v1/test_batches.py::", "api/test_pages.py::"

TESTS = {
    "Pipeline.name": BATCHES + "test_the_pipelines_own_name_is_told",
    "Pipeline.steps": BATCHES + "test_a_batch_can_be_sent_as_json",
    "Pipeline.output_path": "cli/test_run.py::test_another_output_path_is_made_when_a_run_goes_on",
    "Pipeline.timeout_s": "attempt/test_run.py::test_attempt_over_the_pipelines_time_is_stopped",
    "Pipeline.retries": STEPS
    + "test_the_pipelines_own_retries_and_time_hold_where_the_caller_says_nothing",
    "Pipeline.concurrency": STEPS + "test_a_pipeline_of_concurrency_1_works_on_one_file_at_a_time",
    "Pipeline.family": "service/execution/test_process_item.py"
    "::test_a_sequential_batch_has_a_budget_of_crashes_of_its_own",
    "Pipeline.tolerant": STEPS + "test_a_tolerant_pipeline_takes_a_damaged_file_and_says_so",
    "Step.use": "attempt/test_run.py::test_failure_names_its_step_and_leaves_nothing",
    "Step.options": "operations/test_every_option.py"
    "::test_another_value_of_an_option_makes_another_result",
    "Step.id": "attempt/test_run.py::test_failure_names_its_step_and_leaves_nothing",
    "Step.timeout_s": STEPS + "test_the_time_of_one_step_holds_beside_steps_without",
    "Step.retries": STEPS + "test_the_retries_of_a_step_override_the_pipelines",
    "Step.on_error": STEPS + "test_keep_original_of_another_step_delivers_nothing",
    "Step.condition": "sandbox/test_run_job.py::test_a_step_runs_only_where_every_bound_holds",
    "Condition.types": "sandbox/test_run_job.py::test_a_step_runs_only_where_every_bound_holds",
    "Condition.min_bytes": "sandbox/test_run_job.py::test_a_step_runs_only_where_every_bound_holds",
    "Condition.max_bytes": STEPS + "test_no_file_is_small_enough_for_max_bytes_0",
    "Condition.min_width": "sandbox/test_run_job.py::test_a_step_runs_only_where_every_bound_holds",
    "Condition.min_height": "sandbox/test_run_job.py"
    "::test_a_step_runs_only_where_every_bound_holds",
    "BatchOptions.name": BATCHES + "test_files_that_are_sent_come_back_processed",
    "BatchOptions.tag": PAGES + "test_pages_of_batches_stay_right_while_batches_come_and_go",
    "BatchOptions.metadata": BATCHES + "test_files_that_are_sent_come_back_processed",
    "BatchOptions.priority": PAGES + "test_waiting_batches_have_their_place_in_the_queue",
    "BatchOptions.concurrency": "service/execution/test_process_item.py"
    "::test_a_sequential_batch_never_has_two_items_processing",
    "BatchOptions.keep_open": BATCHES + "test_an_open_batch_takes_files_until_it_is_closed",
    "BatchOptions.on_failure": "service/execution/test_process_item.py"
    "::test_a_batch_stops_when_more_failed_than_its_sender_allows",
    "BatchOptions.webhook": "api/v1/test_webhooks.py"
    "::test_a_batch_that_names_a_webhook_is_told_to_it",
    "BatchOptions.step_options": BATCHES + "test_step_options_replace_those_of_the_preset",
}
"""The test that fails when a field does nothing."""
TIER_NAMES = frozenset(Tiers.model_fields)
"""Read by `Settings.tier`, by the name that a key has."""


def _fields() -> Iterator[str]:
    for kind in (Pipeline, Step, Condition):
        yield from (f"{kind.__name__}.{field.name}" for field in dataclasses.fields(kind))
    yield from (f"BatchOptions.{name}" for name in requests.BatchOptions.model_fields)


def _settings(group: type[BaseModel] = Settings, place: str = "") -> Iterator[str]:
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            below = "" if group is Tiers else f"{place}{name}."
            yield from _settings(kind, "" if kind is Tiers else below)
        else:
            yield f"{place}{name}"


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def _names_read(path: str) -> frozenset[str]:
    """Return the names of attributes that a file reads, and its texts."""
    return frozenset(_reads(_tree(SOURCE / path)))


def _reads(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _readers(name: str, *, declared_in: Collection[str]) -> list[str]:
    return [path for path in PATHS if path not in declared_in and name in _names_read(path)]


def test_every_field_is_read_outside_of_its_declaration() -> None:
    assert [field for field in _fields() if not _is_field_read(field)] == []


def _is_field_read(field: str) -> bool:
    kind, _, name = field.partition(".")
    declared_in = "wire/requests.py" if kind == "BatchOptions" else "model/pipeline.py"
    return bool(_readers(name, declared_in=[declared_in]))


def test_every_field_has_a_test() -> None:
    assert set(TESTS) == set(_fields())


@pytest.mark.parametrize("test", sorted(set(TESTS.values())))
def test_a_test_that_a_field_names_exists(test: str) -> None:
    path, _, name = test.partition("::")

    assert name in {
        node.name
        for node in ast.walk(_tree(ROOT / "tests" / path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_setting_is_read() -> None:
    assert [setting for setting in _settings() if not _is_setting_read(setting)] == []


def _is_setting_read(setting: str) -> bool:
    group, _, name = setting.rpartition(".")
    own = _members_of_config(name)
    return any(
        not group or group in _names_read(path)
        for read in (name, *own)
        for path in _readers(read, declared_in=DECLARED)
    )


def _members_of_config(name: str) -> list[str]:
    """Return the properties and functions of the settings that read `self.<name>`."""
    return [
        node.name
        for node in ast.walk(_tree(SOURCE / "settings/fields.py"))
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and name in set(_reads(node))
    ]


def test_every_setting_is_named_by_a_test() -> None:
    texts = "\n".join(
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path != Path(__file__)
    )
    unnamed = {
        setting
        for setting in _settings()
        if setting.rpartition(".")[2] not in texts
        and setting.rpartition(".")[2].upper() not in texts
    }

    assert unnamed <= TIER_NAMES
