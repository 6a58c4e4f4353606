"""What is asked of a server, as values: one function for each request of /v1.

Both clients send these; nothing here opens a file or a connection.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from batchmill.wire import requests


@dataclass(frozen=True, slots=True)
class FileUpload:
    """A file to send; `name` is its label and may hold folders."""

    path: Path
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request. With `files` it is a form of them and `fields`, else `body` is its JSON."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    files: tuple[FileUpload, ...] = ()

    def with_headers(self, **headers: str) -> "Request":
        """Return the same request with more headers (`_` in a name stands for `-`)."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **more})


def new_batch(
    pipeline: str | Mapping[str, Any], options: requests.BatchOptions, files: Sequence[FileUpload]
) -> Request:
    """Send files and a pipeline."""
    chosen = options.model_dump(mode="json", exclude_defaults=True)
    if not files:
        return _post("/v1/batches", body={"pipeline": pipeline, **chosen})
    named = pipeline if isinstance(pipeline, str) else json.dumps(pipeline)
    fields = {"pipeline": named, "options": json.dumps(chosen)}
    return _post("/v1/batches", fields=fields, files=tuple(files))


def held_back(request: Request) -> Request:
    """Name the files of a form that is over a limit, with their sizes instead of their bytes."""
    inputs = [{"name": file.name, "bytes": file.bytes} for file in request.files]
    body: dict[str, Any] = {"inputs": inputs}
    if request.fields:
        pipeline = request.fields["pipeline"]
        named = json.loads(pipeline) if pipeline.startswith("{") else pipeline
        body |= {"pipeline": named, **json.loads(request.fields["options"])}
    return _post(request.path, body=body)


def more_files(batch_id: str, files: Sequence[FileUpload]) -> Request:
    """Add files to an open batch."""
    return _post(f"{_batch(batch_id)}/items", files=tuple(files))


def order(batch_id: str, action: str) -> Request:
    """Close, pause, resume or cancel a batch."""
    return _post(f"{_batch(batch_id)}/{action}")


def retry(batch_id: str, wanted: requests.Retry) -> Request:
    """Run failed items again."""
    return _post(f"{_batch(batch_id)}/retry", body=wanted.model_dump(exclude_none=True))


def batch(batch_id: str) -> Request:
    """Look at one batch."""
    return Request("GET", _batch(batch_id))


def batches(**query: str | None) -> Request:
    """List batches; `query` is status, tag, created_after, limit, cursor."""
    return Request("GET", "/v1/batches", _given(query))


def items(batch_id: str, **query: str | None) -> Request:
    """List a batch's items; `query` is status, error, group, q, limit, cursor."""
    return Request("GET", f"{_batch(batch_id)}/items", _given(query))


def item(item_id: str) -> Request:
    """Look at one item with its data."""
    return Request("GET", f"/v1/items/{quote(item_id, safe='')}")


def output(item_id: str, name: str) -> Request:
    """Download a file that was made."""
    return Request("GET", f"/v1/items/{quote(item_id, safe='')}/outputs/{quote(name)}")


def failures(batch_id: str) -> Request:
    """Group a batch's failures by cause."""
    return Request("GET", f"{_batch(batch_id)}/errors")


def events(batch_id: str, last_event_id: str | None) -> Request:
    """Follow a batch by server-sent events."""
    request = Request("GET", f"{_batch(batch_id)}/events", headers={"Accept": "text/event-stream"})
    return request.with_headers(Last_Event_ID=last_event_id) if last_event_id else request


def report(batch_id: str, **query: str | None) -> Request:
    """Stream a report; `query` is format (csv or jsonl) and status."""
    return Request("GET", f"{_batch(batch_id)}/report", _given(query))


def results_zip(batch_id: str) -> Request:
    """Download all results as one archive."""
    return Request("GET", f"{_batch(batch_id)}/results.zip")


def get(path: str) -> Request:
    """Ask for something else, as `/readyz` or `/v1/workers`."""
    return Request("GET", path)


def pause_worker(worker_id: str, reason: str | None) -> Request:
    """Let one worker start nothing new."""
    return _post(f"{_worker(worker_id)}/pause", body=_given({"reason": reason}))


def resume_worker(worker_id: str) -> Request:
    """Let a paused worker go on."""
    return _post(f"{_worker(worker_id)}/resume")


def _worker(worker_id: str) -> str:
    return f"/v1/workers/{quote(worker_id, safe='')}"


def _batch(batch_id: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}"


def _post(
    path: str,
    *,
    body: Mapping[str, Any] | None = None,
    fields: Mapping[str, str] | None = None,
    files: tuple[FileUpload, ...] = (),
) -> Request:
    """Build a request that may be sent again: its key makes the server act once."""
    key = {"Idempotency-Key": uuid4().hex}
    return Request("POST", path, headers=key, body=body, fields=fields or {}, files=files)


def _given(query: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in query.items() if value is not None}
