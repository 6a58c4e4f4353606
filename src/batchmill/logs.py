"""Structured logs: one line an event on stderr, from a closed list of event names.

    logs.info(Event.BATCH_ACCEPTED, items=3)
    with logs.bound(batch_id=batch_id):
        ...                                     every line in here carries the id

`info` is a state change that a person cares about, `warning` something we coped with, `error`
something that somebody must act on. Nothing is written before `set_up`: the library stays quiet
inside other people's programs. Secrets are blotted out and control characters escaped.
"""

import logging
import re
import sys
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Any, Final, Literal, Self, TextIO


class Event(StrEnum):
    """Every event there is; the second text says what it means."""

    meaning: str

    def __new__(cls, name: str, meaning: str) -> Self:
        """Make the member equal to its name and keep its meaning beside it."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.meaning = meaning
        return member

    SERVER_STARTED = "server.started", "The server listens; `url` says where."
    SERVER_STOPPED = "server.stopped", "The server has stopped."
    LIMITS = "limits", "By which limits a process works: its own, and those of each dialect."
    WORKER_STARTED = "worker.started", "A worker takes items, `slots` at once."
    WORKER_DRAINING = "worker.draining", "A worker takes no more items and finishes those it has."
    WORKER_STOPPED = "worker.stopped", "A worker has stopped; what was not finished went back."
    WORKER_SILENT = "worker.silent", "A worker's heartbeat did not reach the database."
    WORKER_LOST = "worker.lost", "A worker's lease was over; it stopped its items and got a new id."
    WORKER_PAUSED = (
        "worker.paused",
        "An administrator paused this worker; `reason` says why.",
    )
    WORKER_RESUMED = "worker.resumed", "An administrator let this worker go on."
    WORKER_BARE = "worker.bare", "A worker began without children; its first files start them."
    WORK_PAUSED = "work.paused", "No item is started while memory or disk is short."
    WORK_RESUMED = "work.resumed", "There is enough memory and disk again."
    QUEUE_PAUSED = "queue.paused", "An administrator paused all work; `reason` is what they said."
    QUEUE_RESUMED = "queue.resumed", "An administrator let the queue go on."
    BATCH_ACCEPTED = "batch.accepted", "A batch is stored; from here on it is not lost."
    BATCH_STARTED = (
        "batch.started",
        "A worker has begun a batch, or a retry of it; `message` says how many files there are.",
    )
    BATCH_PAUSED = "batch.paused", "A batch starts no more items until it is resumed."
    BATCH_RESUMED = "batch.resumed", "A paused batch goes on."
    BATCH_CANCELLING = "batch.cancelling", "A batch is being cancelled; finished results stay."
    BATCH_RETRIED = "batch.retried", "Items of a batch that failed are tried again."
    BATCH_ENDED = (
        "batch.ended",
        "Every item of a batch has ended; it counts them, and `reason` says why it was stopped.",
    )
    BATCH_DELETED = "batch.deleted", "A batch and all its files are gone."
    ITEM_STARTED = (
        "item.started",
        "A file is begun; only of batches that take one at a time, `place` is its own: [3/5].",
    )
    ITEM_FINISHED = (
        "item.finished",
        "What became of a file after `run_s` seconds; a failure has its `code` and `error`.",
    )
    ITEM_FAILED = "item.failed", "An attempt failed; the item is tried again or given up."
    ITEM_LOST = "item.lost", "A claim ran out during the attempt; its work was thrown away."
    ITEM_HANDED_BACK = "item.handed_back", "A worker gave an item back unfinished."
    ITEM_INTERRUPTED = "item.interrupted", "Something was away while an item was worked on."
    ITEM_RESCUED = "item.rescued", "The sweep put items back whose worker had gone."
    INPUT_UNFETCHED = (
        "input.unfetched",
        "A file could not be fetched from the address named for it.",
    )
    WEBHOOK_DELIVERED = "webhook.delivered", "A webhook has taken a delivery."
    WEBHOOK_FAILED = "webhook.failed", "A webhook did not take a delivery; it is called again."
    WEBHOOK_GIVEN_UP = "webhook.given_up", "A webhook took a delivery in none of many calls."
    SECRETS_SEALED = (
        "secrets.sealed",
        "Secrets in the database that lay in clear, or under an older key, are sealed with the"
        " first key of BATCHMILL_SECRET_KEYS.",
    )
    SECRETS_LOCKED = (
        "secrets.locked",
        "`webhooks` webhooks get no deliveries from here: `setting` lacks the secrets' key.",
    )
    SECRET_DAMAGED = "secret.damaged", "The secret of a webhook is not what was written."
    NOTIFIER_AWAY = "notifier.away", "Workers are not told of new work; they ask by themselves."
    NOTIFIER_BACK = "notifier.back", "Workers are told of new work again."
    SWEEP_INTERRUPTED = "sweep.interrupted", "The sweep broke off; it comes again."
    RESULT_KEPT = "result.kept", "The bucket did not take a result; it stays in the main storage."
    STORAGE_ORPHAN = "storage.orphan", "Files of no known batch were removed, a day after the find."
    STORAGE_MARKED = "storage.marked", "A store carries the mark of this installation from now on."
    STORAGE_UNCHECKED = (
        "storage.unchecked",
        "A store was away at the start; whose it is is looked at before anything is cleaned up.",
    )
    CLEANUP_PAUSED = (
        "cleanup.paused",
        "Files of no known batch are not removed; `reason` says why, and how many there are.",
    )
    CLEANUP_RESUMED = "cleanup.resumed", "Files of no known batch are removed again."
    CLEANUP_CONFIRMED = (
        "cleanup.confirmed",
        "An administrator let files of no known batch be removed.",
    )
    DATA_FOLDER_CLOSED = (
        "data_folder.closed",
        "Other users could read the data folder; its mode is 0700 now.",
    )
    SANDBOX_MISSING = "sandbox.missing", "The child can't be shut in as tightly as it should be."
    SETTING_UNKNOWN = "setting.unknown", "A BATCHMILL_ variable means nothing here."
    SCHEMA_MIGRATED = "schema.migrated", "The database has the newest schema."
    KEY_CREATED = "key.created", "An API key was made."
    KEY_REVOKED = "key.revoked", "An API key was revoked."
    REQUEST_FAILED = "request.failed", "A request failed because something was away."
    INTERNAL_ERROR = "internal.error", "A fault of batchmill itself; `detail` helps to report it."
    LIBRARY_MESSAGE = "library.message", "A library that is used here has something to say."


Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]
_Fields = MutableMapping[str, Any]


def debug(event: Event, /, **fields: object) -> None:
    """Log a detail for whoever looks for a fault."""
    _write("debug", event, fields)


def info(event: Event, /, **fields: object) -> None:
    """Log a state change that a person cares about."""
    _write("info", event, fields)


def warning(event: Event, /, **fields: object) -> None:
    """Log something that went wrong and that we coped with."""
    _write("warning", event, fields)


def error(event: Event, /, **fields: object) -> None:
    """Log something that somebody must act on. `exc_info=True` adds the traceback."""
    _write("error", event, fields)


def bound(**ids: str) -> AbstractContextManager[None]:
    """Add ids to every line within the block, through threads and tasks started there."""
    structlog = sys.modules.get("structlog")
    if structlog is None:  # nothing is written
        return nullcontext()
    bound: AbstractContextManager[None] = structlog.contextvars.bound_contextvars(**ids)
    return bound


def set_up(*, level: Level = "info", style: Format = "auto", stream: TextIO | None = None) -> None:
    """Start logging to `stream`, stderr by default; `auto` is JSON unless that is a terminal.

    Libraries that use the standard `logging` are heard from `warning` on.
    """
    import structlog  # brings rich along, which half of all commands need not load

    number = logging.getLevelNamesMapping()[level.upper()]
    stream = stream or sys.stderr
    console = style == "console" or (style == "auto" and stream.isatty())
    render = _console(colors=stream.isatty()) if console else _json()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *_shared(), *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_from_library, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def redact(text: str) -> str:
    """Blot out what must not be read in a log: passwords and signatures in URLs, API keys."""
    for pattern, instead in _SECRET_TEXTS:
        text = pattern.sub(instead, text)
    return text


_SECRET_FIELDS: Final = re.compile(
    r"password|secret|token|authorization|cookie|signature|(api|admin|access|signing)_key", re.I
)
_SECRET_TEXTS: Final = (
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), r"\1:***@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (
        re.compile(r"(?i)([?&](?:[\w-]*(?:sig|signature|token|key|credential|password))=)[^&\s#]+"),
        r"\1***",
    ),
    (re.compile(r"\b(bm_|sk-)[\w-]{8,}"), r"\1***"),
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _write(level: Level, event: Event, fields: dict[str, object]) -> None:
    structlog = sys.modules.get("structlog")  # it is loaded where it is set up
    if structlog is not None and structlog.is_configured():
        getattr(structlog.get_logger(), level)(event.value, **fields)


def _from_library(_: object, __: str, fields: _Fields) -> _Fields:
    logger, message = fields["_record"].name, fields["event"]
    return {**fields, "event": Event.LIBRARY_MESSAGE.value, "logger": logger, "message": message}


def _redacted(_: object, __: str, fields: _Fields) -> _Fields:
    return {
        name: "***" if _SECRET_FIELDS.search(name) else _each_text(value, redact)
        for name, value in fields.items()
    }


def _ordered(_: object, __: str, fields: _Fields) -> _Fields:
    first = {name: fields[name] for name in ("timestamp", "level", "event")}
    return {**first, **fields}


def _escaped(_: object, __: str, fields: _Fields) -> _Fields:
    """Keep a file's name from moving the cursor or forging a line on a terminal."""
    lines = str(fields.get("exception", "")).splitlines()
    traceback = {"exception": "\n".join(map(_escape, lines))} if lines else {}
    return {name: _each_text(value, _escape) for name, value in fields.items()} | traceback


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _each_text(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _each_text(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_each_text(inner, change) for inner in value]
    return value


def _console(*, colors: bool) -> list[Any]:
    from structlog.dev import ConsoleRenderer

    return [_escaped, ConsoleRenderer(colors=colors)]


def _json() -> list[Any]:
    from structlog.processors import JSONRenderer

    return [JSONRenderer(default=str)]


def _shared() -> tuple[Any, ...]:
    from structlog.processors import TimeStamper, add_log_level, format_exc_info

    stamp = TimeStamper(fmt="iso", utc=True)
    return (add_log_level, stamp, format_exc_info, _redacted, _ordered)
