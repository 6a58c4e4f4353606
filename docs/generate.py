"""Writes docs/reference from the code; `--check` only says whether something is out of date."""

import asyncio
import inspect
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import BaseModel, ByteSize
from pydantic_core import PydanticUndefined

from batchmill import bootstrap, logs
from batchmill.api.app import create_app
from batchmill.cli.main import app
from batchmill.errors.base import BatchmillError
from batchmill.errors.item import ItemError
from batchmill.errors.outage import OutageError
from batchmill.errors.request import RequestError
from batchmill.model.pipeline import Step
from batchmill.operations import presets, registry
from batchmill.settings import fields, loading
from batchmill.settings.loading import Setting

FOLDER: Final = Path(__file__).parent / "reference"
MANY: Final = 100_000
"""From here on a number reads better with commas than it copies without them."""
NOTE: Final = (
    "<!-- Made by docs/generate.py from the code; change the code and run `make docs`. -->"
)


def main() -> int:
    """Write or check every page; return the exit code."""
    stale = [name for name, page in PAGES.items() if _current(name) != _text(page())]
    if "--check" not in sys.argv:
        FOLDER.mkdir(exist_ok=True)
        for name in stale:
            (FOLDER / name).write_text(_text(PAGES[name]()), encoding="utf-8")
        return 0
    print("".join(f"docs/reference/{name} is out of date; run `make docs`\n" for name in stale))
    return 1 if stale else 0


def settings_page() -> Iterator[str]:
    """Every setting, in the groups of `settings/fields.py`."""
    yield "# Settings"
    yield (
        "Set by a flag, an environment variable, or a TOML file that `BATCHMILL_CONFIG` names; the "
        "first of these counts. An empty variable counts as not set, lists are separated by "
        "commas, sizes take units (`50MB`, `2GiB`). The unit is the end of the name. A **secret** "
        "may lie in a file: set the variable with `_FILE` appended to the file's path."
    )
    yield "In the file, the part before the dot is a table: `[images]`, then `concurrency = 3`."
    general = [s for s in loading.settings() if "." not in s.path]
    yield "## General"
    yield from _settings_table(general)
    for name in _groups():
        group = fields.Settings.model_fields[name].annotation
        yield f"## {name.capitalize()}"
        yield _one_line(group.__doc__)
        yield from _settings_table(s for s in loading.settings() if s.path.startswith(name))
    yield "## Limits of the tiers"
    yield from _tiers()
    yield "## Names from the reference documents"
    yield "These are understood too; our own name wins where both are set."
    rows = [(f"`{old}`", f"`{_variable(alias.path)}`") for old, alias in loading.ALIASES.items()]
    mysql = "`MYSQL_HOST` `MYSQL_USER` `MYSQL_PASSWORD` `MYSQL_DATABASE`"
    yield _table(("name", "sets"), [*rows, (mysql, "`BATCHMILL_DATABASE_URL`")])


def errors_page() -> Iterator[str]:
    """Every error, family by family."""
    yield "# Errors"
    yield (
        "Every answer that is not a success carries one of these codes and a sentence. A code "
        "never changes its meaning."
    )
    for family in (RequestError, ItemError, OutageError):
        yield f"## {_one_line(family.__doc__)}"
        yield _table(
            ("code", "HTTP", "retried", "what happened", "what to do"),
            [
                (
                    f"`{each.code}`",
                    "—" if family is ItemError else str(each.status),
                    "yes" if each.retryable else "no",
                    _one_line(each.__doc__),
                    each.remedy,
                )
                for each in sorted(_family(family), key=lambda each: each.code)
            ],
        )


def operations_page() -> Iterator[str]:
    """Every preset, then every operation with its options."""
    yield "# Presets and operations"
    yield (
        "A pipeline is a list of steps; each names an operation and sets some of its options. A "
        "preset is a pipeline with a name."
    )
    yield "## Presets"
    yield _table(
        ("preset", "steps", "what it is for"),
        [
            (f"`{name}`", " → ".join(_step(step) for step in presets.get(name).steps), summary)
            for name, summary in presets.summaries().items()
        ],
    )
    for name in registry.BUILTIN:
        operation = registry.get(name)
        yield f"## {name}"
        yield f"{operation.summary} Takes: {', '.join(sorted(operation.accepts))}."
        yield _table(
            ("option", "takes", "default", "meaning"),
            [
                (
                    f"`{option}`",
                    registry.allowed(operation.options, option),
                    _shown(field.default),
                    field.description or "",
                )
                for option, field in operation.options.model_fields.items()
            ],
        )


def events_page() -> Iterator[str]:
    """Every event that a log line can carry."""
    yield "# Log events"
    yield (
        "Logs are one JSON object a line on stderr (`BATCHMILL_LOG_FORMAT`): `timestamp`, `level`, "
        "`event`, then the event's fields and the ids of what it is about. Passwords, keys and "
        "signatures are blotted out."
    )
    yield _table(("event", "meaning"), [(f"`{event}`", event.meaning) for event in logs.Event])


def api_page() -> Iterator[str]:
    """Every request of the native API; the reference documents' own are in the how-to pages."""
    yield "# HTTP API"
    yield (
        "A running server has the same with every field as OpenAPI at `/openapi.json`. Times are "
        "RFC 3339 in UTC, errors RFC 9457 problem details with one of [these codes](errors.md), "
        "lists come in pages `{data, has_more, next_cursor}`."
    )
    requests: dict[str, list[tuple[str, str, str]]] = {}
    for path, methods in asyncio.run(_openapi())["paths"].items():
        for method, request in ((m, r) for m, r in methods.items() if m != "head"):
            query = [p["name"] for p in request.get("parameters", ()) if p["in"] == "query"]
            row = (
                f"`{method.upper()} {path}`",
                _one_line(request.get("description")),
                " ".join(f"`{name}`" for name in query) or "—",
            )
            requests.setdefault(request["tags"][0], []).append(row)
    for tag, rows in requests.items():
        yield f"## {tag.capitalize()}"
        yield _table(("request", "what it does", "query"), rows)


async def _openapi() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # HEAD and GET of one route share their id
        async with bootstrap.opened(fields.Settings(data_dir=Path(folder))) as server:
            return create_app(server).openapi()


def cli_page() -> Iterator[str]:
    """Every command with its arguments and options."""
    yield "# Command line"
    yield "The same as `batchmill COMMAND --help`."
    yield from _commands(typer.main.get_command(app), "batchmill")


def _commands(command: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - typer names no type
    commands = getattr(command, "commands", {})
    for each, inner in commands.items():
        yield from _commands(inner, f"{name} {each}")
    if not commands:
        yield f"## {name}"
        yield re.sub(r"\[(/?)bold\]", "**", inspect.cleandoc(command.help))
        shown = [parameter for parameter in command.params if not parameter.hidden]
        yield _table(("argument or option", "meaning"), map(_parameter, shown))


def _parameter(parameter: Any) -> tuple[str, str]:  # noqa: ANN401 - the same
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`", parameter.help
    names = " ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names + (f" `{parameter.metavar}`" if parameter.metavar else ""), parameter.help


PAGES: Final[dict[str, Callable[[], Iterable[str]]]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "api.md": api_page,
    "cli.md": cli_page,
    "events.md": events_page,
    "operations.md": operations_page,
}


def _step(step: Step) -> str:
    """Show a step with those options that differ from their defaults."""
    model = registry.get(step.use).options
    changed = model.model_validate(dict(step.options)).model_dump(exclude_defaults=True)
    return f"`{step.use}`" + (" " + " ".join(f"{k}={v}" for k, v in changed.items()))


def _groups() -> list[str]:
    return [
        name
        for name, field in fields.Settings.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, BaseModel)
        and field.annotation is not fields.Tiers
    ]


def _settings_table(settings: Iterable[Setting]) -> Iterator[str]:
    yield _table(
        ("variable", "takes", "default", "meaning"),
        [
            (
                f"`{setting.variable}`",
                setting.allowed + (" (secret)" if setting.secret else ""),
                _default(setting),
                f"{setting.field.description}.",
            )
            for setting in settings
        ],
    )


def _tiers() -> Iterator[str]:
    tiers = fields.Tiers()
    groups: dict[fields.TierLimits, list[str]] = {}
    for name in fields.Tiers.model_fields:
        groups.setdefault(getattr(tiers, name), []).append(name)
    yield (
        "A tier comes from the caller's key; without a key it is `anonymous`. The variable is "
        "`BATCHMILL_TIERS_` + tier + `_` + limit, for example "
        f"`{_variable('tiers.free.file_bytes')}`; in the file, `[tiers.free]`."
    )
    yield _table(
        ("limit", *(", ".join(names) for names in groups.values()), "meaning"),
        [
            (
                f"`{name}`",
                *(_shown(getattr(tier, name)) for tier in groups),
                f"{field.description}.",
            )
            for name, field in fields.TierLimits.model_fields.items()
        ],
    )


def _variable(path: str) -> str:
    return next(s.variable for s in loading.settings() if s.path == path)


def _default(setting: Setting) -> str:
    if setting.field.default is PydanticUndefined:
        return "one per core"
    return _shown(setting.field.default)


def _shown(value: object) -> str:
    if value is None or value == ():
        return "—"
    if isinstance(value, ByteSize):
        return loading.size(value)
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, tuple):
        return "`" + ",".join(map(str, value)) + "`"
    if isinstance(value, int | float):
        return f"`{value:g}`" if value < MANY else f"{value:,}"
    return f"`{value}`"


def _family(root: type[BatchmillError]) -> list[type[BatchmillError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _family(child))]


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(each) for each in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _text(blocks: Iterable[str]) -> str:
    return "\n\n".join((NOTE, *blocks)) + "\n"


def _current(name: str) -> str:
    path = FOLDER / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
