"""Batches of a server, told to people and to programs on stdout."""

import json
from collections.abc import Sequence

from batchmill.cli.command import ALL_FINE, SOME_FAILED
from batchmill.cli.text import clean, day, duration, files, size, table
from batchmill.model.batch import BatchStatus
from batchmill.wire import responses


def exit_code(batch: responses.Batch) -> int:
    """Return 0 when every file got through."""
    return ALL_FINE if batch.status is BatchStatus.COMPLETED else SOME_FAILED


def line(batch: responses.Batch) -> None:
    """Print a batch as one line of JSON."""
    print(batch.model_dump_json(), flush=True)


def several(batches: Sequence[responses.Batch], *, as_json: bool) -> None:
    """Print one line for each batch."""
    if as_json:
        for batch in batches:
            line(batch)
        return
    if not batches:
        print("There are no batches.")
        return
    head = ("batch", "status", "done", "failed", "of", "created", "name")
    print(table([head, *(_row(batch) for batch in batches)]))


def one(batch: responses.Batch, causes: Sequence[responses.FailureGroup], *, as_json: bool) -> None:
    """Print a batch: where it is, its counts, why files failed."""
    if as_json:
        body = {**json.loads(batch.model_dump_json())}
        if causes:
            body["errors"] = [json.loads(cause.model_dump_json()) for cause in causes]
        print(json.dumps(body))
        return
    name = f" {clean(batch.name)}" if batch.name else ""
    print(f"{batch.id}{name}: {_status(batch)}{_remaining(batch)}")
    print(f"  {_counts(batch.counts)}{_sizes(batch.progress)}")
    for cause in causes:
        print(f"  {cause.count:,} × {clean(cause.message)}  (group {cause.id})")


def _row(batch: responses.Batch) -> tuple[str, ...]:
    return (
        batch.id,
        _status(batch),
        str(batch.counts.completed + batch.counts.skipped),
        str(batch.counts.failed + batch.counts.quarantined),
        str(batch.counts.total),
        day(batch.created_at),
        clean(batch.name or ""),
    )


def _status(batch: responses.Batch) -> str:
    text = batch.status.value.replace("_", " ")
    if not batch.paused:
        waits = batch.pause_reason is not None and batch.ended_at is None
        return f"{text}, waits: {clean(batch.pause_reason or '')}" if waits else text
    return f"paused ({clean(batch.pause_reason)})" if batch.pause_reason else "paused"


def _remaining(batch: responses.Batch) -> str:
    progress = batch.progress
    text = "" if progress.percent is None else f", {progress.percent:g} %"
    if progress.eta_low_seconds is not None and progress.eta_high_seconds is not None:
        low, high = duration(progress.eta_low_seconds), duration(progress.eta_high_seconds)
        text += f", {low} left" if low == high else f", {low} to {high} left"
    return text + (f", place {progress.position} in the queue" if progress.position else "")


def _counts(counts: responses.ItemCounts) -> str:
    named = counts.model_dump(exclude={"total"})
    parts = [f"{count:,} {status}" for status, count in named.items() if count]
    return f"{files(counts.total)}: " + (", ".join(parts) or "none yet")


def _sizes(progress: responses.ProgressState) -> str:
    if not progress.bytes_out:
        return ""
    return f"; {size(progress.bytes_out)} made, {size(progress.bytes_saved)} saved"
