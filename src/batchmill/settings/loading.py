"""Finds the settings: flag, environment, alias, file, default; what is set first counts.

The setting `images.concurrency` is `BATCHMILL_IMAGES_CONCURRENCY` in the environment and
`concurrency` under `[images]` in the TOML file that `BATCHMILL_CONFIG` names. The names of the
five reference documents (`PORT`, `MAX_CONCURRENT_JOBS` …) are aliases. An empty variable counts
as not set, lists are separated by commas, sizes take units (`50MB`, `2GiB`), and for a secret
`BATCHMILL_…_FILE` names a file that holds it.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import quote

from pydantic import BaseModel, ByteSize, IPvAnyNetwork, ValidationError
from pydantic.fields import FieldInfo

from batchmill.errors.request import UsageError
from batchmill.settings.fields import Settings
from batchmill.settings.types import MIB

PREFIX: Final = "BATCHMILL_"
TEST_PREFIX: Final = "BATCHMILL_TEST_"
CONFIG_VARIABLE: Final = "BATCHMILL_CONFIG"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted path, where it is declared, and the names it also goes by."""

    path: str
    field: FieldInfo
    aliases: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return PREFIX + self.path.replace(".", "_").upper()

    @property
    def secret(self) -> bool:
        """True when the value must not be shown; it may come from a file then."""
        return "Secret" in str(self.field.annotation)

    @property
    def allowed(self) -> str:
        """What the setting takes, in words."""
        bounds = {type(bound).__name__: bound for bound in self.field.metadata}
        return " ".join(
            (
                self._words or _kind(self.field.annotation) + self._unit,
                *(
                    f"{word} {getattr(bounds[name], name.lower())}"
                    for name, word in _BOUND_WORDS.items()
                    if name in bounds
                ),
            )
        )

    @property
    def _words(self) -> str | None:
        """What a text that must match a pattern may be, instead of the pattern."""
        extra = self.field.json_schema_extra
        return str(extra["allowed"]) if isinstance(extra, dict) and "allowed" in extra else None

    @property
    def _unit(self) -> str:
        return next((f" of {unit}" for end, unit in _UNITS.items() if self.path.endswith(end)), "")


_UNITS: Final = {"_ms": "milliseconds", "_s": "seconds", "_px": "pixels", "_pct": "percent"}
_BOUND_WORDS: Final = {"Ge": "from", "Gt": "above", "Le": "to"}
_KINDS: Final[Mapping[Any, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    ByteSize: "a size such as 50MB or 2GiB",
    Path: "a path",
}


def _kind(annotation: Any) -> str:  # noqa: ANN401 - any annotation there is
    arguments = get_args(annotation)
    if arguments and isinstance(arguments[0], str):
        return "one of " + ", ".join(arguments)
    if Ellipsis in arguments:
        what = "addresses or networks" if arguments[0] is IPvAnyNetwork else "a list"
        return f"{what} separated by commas"
    return _KINDS.get(arguments[0] if arguments else annotation, "a text")


@dataclass(frozen=True, slots=True)
class Alias:
    """A name from a reference document; a number in another unit is multiplied by `scale`."""

    path: str
    scale: int = 1
    most: float = float("inf")
    least: float = 0.0


ALIASES: Final[Mapping[str, Alias]] = {
    "PORT": Alias("port"),
    "REDIS_URL": Alias("redis_url"),
    "CORS_ORIGINS": Alias("cors_origins"),
    "CLEANUP_INTERVAL_MS": Alias("cleanup_interval_ms"),
    "WORKER_ID": Alias("worker_id"),
    "WORKER_CONCURRENCY": Alias("children"),
    "OPENAI_API_KEY": Alias("llm_api_key"),
    "OPENAI_BASE_URL": Alias("llm_base_url"),
    "OPENAI_MODEL": Alias("llm_model"),
    "BATCH_OUTPUT_DIR": Alias("photos.output_dir"),
    "ENABLE_BATCH": Alias("documents.enabled"),
    "MAX_FILES_PER_BATCH": Alias("documents.files_per_batch"),
    "CONCURRENT_JOBS": Alias("documents.concurrency"),
    "MAX_RETRIES": Alias("documents.retries"),
    "PROCESSING_TIMEOUT": Alias("documents.timeout_ms"),
    "MAX_CONCURRENT_JOBS": Alias("images.concurrency"),
    "JOB_TIMEOUT_MS": Alias("images.timeout_ms"),
    "MAX_QUEUE_SIZE": Alias("images.queue_size"),
    "MAX_FILE_SIZE_MB": Alias("images.file_bytes", scale=MIB),
    "MAX_IMAGE_WIDTH": Alias("images.width_px"),
    "MAX_IMAGE_HEIGHT": Alias("images.height_px"),
    "COMPRESSION_QUALITY": Alias("images.quality", scale=100, least=0.1, most=1.0),
    "SUPPORTED_FORMATS": Alias("images.formats"),
    "RATE_LIMIT_WINDOW_MS": Alias("images.rate_window_ms"),
    "RATE_LIMIT_MAX_REQUESTS": Alias("images.rate_requests"),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: the kind of place, and the name it was given under."""

    kind: Literal["flag", "environment", "file"]
    name: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it came from, for the message when it is wrong."""

    path: str
    value: object
    origin: Origin


def settings() -> tuple[Setting, ...]:
    """List every setting in the order of its declaration."""
    return tuple(_walk(Settings, ""))


def load(
    env: Mapping[str, str],
    file: Mapping[str, Any] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Settings:
    """Build the settings; reads nothing but the secret files that `env` names.

    `file` is decoded TOML; `flags` go by dotted path, None means not given.

    Raises:
        UsageError: a value is wrong or a name unknown; the message says what is allowed.
    """
    given = _given(env, file, flags)
    body = Settings().model_dump()
    for each in given.values():
        _place(body, each)
    try:
        return Settings.model_validate(body)
    except ValidationError as error:
        raise _usage_error(error, given) from None


def origins(
    env: Mapping[str, str],
    file: Mapping[str, Any] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Mapping[str, Origin]:
    """Tell by dotted path where each setting comes from; those that have defaults are left out.

    Raises:
        UsageError: as `load`, for names and files.
    """
    return {path: each.origin for path, each in _given(env, file, flags).items()}


def written(value: object) -> str | None:
    """Return a value as one writes it in the environment; None: it is not set."""
    if value is None or value == ():
        return None
    if isinstance(value, ByteSize):
        return size(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def size(value: int) -> str:
    """Return a size in the largest unit that leaves no fraction: `50 MiB`."""
    units = ((2**30, "GiB"), (2**20, "MiB"), (10**9, "GB"), (10**6, "MB"), (1, "bytes"))
    return next(f"{value // unit} {name}" for unit, name in units if value % unit == 0)


def read_file(env: Mapping[str, str]) -> Mapping[str, Any]:
    """Read the TOML file that `BATCHMILL_CONFIG` names; without one, nothing is set.

    Raises:
        UsageError: the file is not there or is no TOML.
    """
    name = env.get(CONFIG_VARIABLE)
    if not name:
        return {}
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{CONFIG_VARIABLE}={name} cannot be read: {error}") from error


def unknown_variables(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence for every BATCHMILL_ variable that means nothing here."""
    known = {CONFIG_VARIABLE}
    for setting in settings():
        known |= (
            {setting.variable, f"{setting.variable}_FILE"} if setting.secret else {setting.variable}
        )
    ours = (name for name in env if name.startswith(PREFIX) and not name.startswith(TEST_PREFIX))
    strange = sorted(set(ours) - known)
    return tuple(f"{name} is not a setting. {_hint(name, known)}" for name in strange)


def _walk(group: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            path = prefix + name
            yield Setting(
                path, field, tuple(a for a, alias in ALIASES.items() if alias.path == path)
            )


def _given(
    env: Mapping[str, str],
    file: Mapping[str, Any] | None,
    flags: Mapping[str, object] | None,
) -> dict[str, _Given]:
    found = (*_from_file(file or {}, ""), *_from_environment(env), *_from_flags(flags or {}))
    return {each.path: each for each in found}


def _from_file(table: Mapping[str, Any], prefix: str) -> Iterator[_Given]:
    known = {setting.path for setting in settings()}
    for name, value in table.items():
        path = prefix + name
        if path in known:
            yield _Given(path, value, Origin("file", f"`{path}` in the settings file"))
        elif isinstance(value, Mapping) and any(each.startswith(f"{path}.") for each in known):
            yield from _from_file(value, f"{path}.")
        else:
            raise UsageError(f"The settings file has an unknown `{path}`. {_hint(path, known)}")


def _from_environment(env: Mapping[str, str]) -> Iterator[_Given]:
    """Aliases first, so that our own names win over them."""
    yield from _mysql(env)
    for name, alias in ALIASES.items():
        if env.get(name):
            origin = Origin("environment", name)
            yield _Given(alias.path, _scaled(name, alias, env[name]), origin)
    for setting in settings():
        if env.get(setting.variable):
            origin = Origin("environment", setting.variable)
            yield _Given(setting.path, env[setting.variable], origin)
        elif setting.secret and env.get(f"{setting.variable}_FILE"):
            variable = f"{setting.variable}_FILE"
            origin = Origin("environment", variable)
            yield _Given(setting.path, _secret(variable, env[variable]), origin)


def _from_flags(flags: Mapping[str, object]) -> Iterator[_Given]:
    for path, value in flags.items():
        if value is not None:
            yield _Given(path, value, Origin("flag", _flag(path)))


def _flag(path: str) -> str:
    return "--jobs" if path == "children" else "--" + path.replace(".", "-").replace("_", "-")


def _mysql(env: Mapping[str, str]) -> Iterator[_Given]:
    """Join the four variables by which the photo document names its database."""
    if not env.get("MYSQL_HOST"):
        return
    user, password, name = (
        quote(env.get(f"MYSQL_{part}", ""), safe="") for part in ("USER", "PASSWORD", "DATABASE")
    )
    account = f"{user}:{password}" if password else user
    url = f"mysql+pymysql://{account}@{env['MYSQL_HOST']}/{name}?charset=utf8mb4"
    yield _Given("database_url", url, Origin("environment", "MYSQL_HOST"))


def _scaled(name: str, alias: Alias, value: str) -> object:
    if alias.scale == 1:
        return value
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not alias.least <= number <= alias.most:
        allowed = f" from {alias.least} to {alias.most}" if alias.least else ""
        raise UsageError(f"{name} is {value!r}, but must be a number{allowed}.")
    return round(number * alias.scale)


def _secret(variable: str, name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{variable} names a file that cannot be read: {error}") from error


def _place(body: dict[str, Any], given: _Given) -> None:
    *groups, name = given.path.split(".")
    for group in groups:
        body = body[group]
    body[name] = given.value


def _usage_error(error: ValidationError, given: Mapping[str, _Given]) -> UsageError:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    for setting in settings():
        if where == setting.path or where.startswith(f"{setting.path}."):
            value = "is wrong" if setting.secret else f"is {given[setting.path].value!r}"
            return UsageError(
                f"{given[setting.path].origin.name} {value}, but must be {setting.allowed}."
            )
    why = first["msg"].removeprefix("Value error, ")
    return UsageError(f"The settings contradict each other: {why}.")


def _hint(name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1)
    return f"Did you mean {near[0]}?" if near else "docs/reference/settings.md lists all of them."
