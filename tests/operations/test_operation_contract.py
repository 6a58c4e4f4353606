"""What holds for every registered operation; a new one is checked by being registered."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from batchmill.model.media import Family
from batchmill.operations import registry
from batchmill.operations.contract import Options, Transform
from support import parts
from support.pictures import outputs, run, scene

OPERATIONS = registry.names()
TRANSFORMS = [name for name in OPERATIONS if isinstance(registry.get(name), Transform)]
FAMILIES = {Family.IMAGE, Family.DOCUMENT}
CHOOSY = [name for name in TRANSFORMS if FAMILIES - registry.get(name).accepts]
SAMPLES: dict[str, dict[str, Any]] = {"watermark": {"text": "sample"}}
"""Options for operations that can do nothing by default."""


def _properties(name: str) -> dict[str, dict[str, Any]]:
    return registry.schema(name).get("properties", {})


@pytest.fixture
def files(tmp_path: Path) -> dict[Family, Path]:
    picture, table = tmp_path / "picture.png", tmp_path / "table.csv"
    scene(64, 48).pngsave(picture)
    table.write_text("name,price\nbread,2.50\nmilk,1.20\n")
    return {Family.IMAGE: picture, Family.DOCUMENT: table}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_is(name: str) -> None:
    operation = registry.get(name)
    assert operation.name == name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert operation.summary.endswith(".")
    assert operation.version >= 1
    assert operation.accepts
    assert issubclass(operation.options, Options)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_option_has_a_description_a_default_and_bounds(name: str) -> None:
    lacking = {option: list(_lacking(schema)) for option, schema in _properties(name).items()}
    assert lacking == {option: [] for option in _properties(name)}


def _lacking(schema: dict[str, Any]) -> Iterator[str]:
    """Yield what an option's schema lacks."""
    if not schema.get("description", "").endswith("."):
        yield "description"
    if "default" not in schema:
        yield "default"
    for kind in schema.get("anyOf", [schema]):
        if kind.get("type") in {"integer", "number"} and not kind.keys() & {"enum", "const"}:
            ends = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
            yield from (end for end, other in ends.items() if not kind.keys() & {end, other})


def test_an_option_that_lacks_something_is_found() -> None:
    assert list(_lacking({"type": "integer"})) == ["description", "default", "minimum", "maximum"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        registry.get(name).options.model_validate({**SAMPLES.get(name, {}), "no_such_option": 1})


@pytest.mark.parametrize("name", OPERATIONS)
def test_complete_options_mean_the_same_as_the_ones_given(name: str) -> None:
    given = registry.options(name, SAMPLES.get(name, {}))
    complete = given.model_dump(mode="json")
    assert set(complete) == set(registry.get(name).options.model_fields)
    assert registry.options(name, complete) == given


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_same_file_and_options_give_the_same_bytes(
    name: str, files: dict[Family, Path]
) -> None:
    accepts = registry.get(name).accepts
    family = Family.IMAGE if Family.IMAGE in accepts else Family.DOCUMENT
    one, other = (_result(files[family], name) for _ in range(2))
    assert one == other


def _result(source: Path, name: str) -> tuple[object, ...]:
    report = run(source, [(name, SAMPLES.get(name, {}))])
    if report.error and report.error.code == "face_model_missing":
        parts.missing("the face model")
    assert report.error is None, report.error
    contents = [path.read_bytes() for path in outputs(source, report)]
    return report.outputs, _untimed(report.data), contents


def _untimed(data: object) -> object:
    """Return data without what the clock put into it."""
    if isinstance(data, dict):
        return {key: _untimed(value) for key, value in data.items() if key != "timings_ms"}
    return [_untimed(value) for value in data] if isinstance(data, list | tuple) else data


@pytest.mark.parametrize("name", CHOOSY)
def test_a_file_of_a_family_it_does_not_take_is_refused(
    name: str, files: dict[Family, Path]
) -> None:
    others = set(files) - registry.get(name).accepts
    report = run(files[others.pop()], [(name, SAMPLES.get(name, {}))])
    assert report.error is not None
    assert report.error.code == "unsupported_type"


def test_schemas_are_read_without_loading_any_decoder() -> None:
    heavy = {"pyvips", "PIL", "pillow_heif", "onnxruntime", "numpy", "pypdfium2", "pdfplumber"}
    code = (
        "import sys; from batchmill.operations import presets, registry;"
        "[registry.schema(name) for name in registry.names()];"
        "[presets.get(name) for name in presets.names()];"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
