"""`batchmill operations` and `presets`: what can be done to files, and with which options."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill.cli.command import ALL_FINE

if TYPE_CHECKING:
    from batchmill.model.pipeline import Pipeline

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsOptions:
    """One operation, or all."""

    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One operation, with its options.")
    ] = None
    json: AsJson = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetsOptions:
    """One preset, or all."""

    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One preset, as a pipeline file.")
    ] = None
    json: AsJson = False


def operations(options: OperationsOptions) -> int:
    """List operations, or the options of one: what each takes, its default, what it means.

    [bold]Examples[/bold]

        batchmill operations

        batchmill operations resize
    """
    from batchmill.operations import registry

    if options.name is None:
        _list({name: registry.get(name).summary for name in registry.names()}, as_json=options.json)
    elif options.json:
        _print_json(registry.schema(options.name))
    else:
        _operation(options.name)
    return ALL_FINE


def presets(options: PresetsOptions) -> int:
    """List presets, or show one as a pipeline file to start your own from.

    [bold]Examples[/bold]

        batchmill presets

        batchmill presets web > mine.toml

        batchmill run mine.toml photos/ -o out/
    """
    import os

    from batchmill.operations import presets as known
    from batchmill.settings import loading

    own = loading.load(os.environ, loading.read_file(os.environ)).presets_dir
    if options.name is None:
        _list(known.summaries(own), as_json=options.json)
        return ALL_FINE
    pipeline = known.get(options.name, own)
    if options.json:
        _print_json(pipeline.to_json())
    else:
        print(_toml(pipeline), end="")
    return ALL_FINE


def _list(summaries: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        _print_json([{"name": name, "summary": text} for name, text in summaries.items()])
        return
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(f"{name:<{width}}  {summary}")


def _operation(name: str) -> None:
    from batchmill.operations import registry

    operation = registry.get(name)
    takes = " and ".join(sorted(f"{family.value}s" for family in operation.accepts))
    print(f"{operation.name}: {operation.summary}\nTakes {takes}.\n")
    for option, field in operation.options.model_fields.items():
        allowed = registry.allowed(operation.options, option)
        print(f"  {option} = {_shown(field.default)}\n      {allowed}\n      {field.description}")


def _toml(pipeline: "Pipeline") -> str:
    """Write a pipeline as TOML, with those options that differ from their defaults."""
    from batchmill.operations import registry

    body = pipeline.to_json()
    lines = [f"name = {_shown(pipeline.name)}"]
    names = ("family", "timeout_s", "retries", "concurrency")
    lines += [f"{name} = {_shown(body[name])}" for name in names if name in body]
    for step in pipeline.steps:
        model = registry.options(step.use, step.options)
        changed = model.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        lines += ["", "[[steps]]", f"use = {_shown(step.use)}"]
        if changed:
            options = ", ".join(f"{name} = {_shown(value)}" for name, value in changed.items())
            lines.append(f"with = {{ {options} }}")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    import json

    return "(left out)" if value is None else json.dumps(value, default=str, ensure_ascii=False)


def _print_json(body: Any) -> None:  # noqa: ANN401 - any JSON
    import json

    print(json.dumps(body, indent=2, ensure_ascii=False))
