"""What a run says at its end: a table of files, the failures, one line for all."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import typer

from batchmill.cli.run.options import RunOptions
from batchmill.cli.run.plan import RunPlan
from batchmill.cli.text import clean, duration, files, saved, size, table
from batchmill.local.results import ItemResult

T = TypeVar("T")

ROWS = 20
"""Most rows of the table, and most failures that are named."""


@dataclass(slots=True)
class ModelUsage:
    """Calls to a model, and what they cost where that is known."""

    calls: int = 0
    tokens: int = 0
    cost_usd: float = 0.0

    def add(self, usage: object) -> None:
        """Count what `describe` has noted of one file."""
        if isinstance(usage, Mapping) and "calls" in usage:
            self.calls += usage["calls"]
            self.tokens += usage["input_tokens"] + usage["output_tokens"]
            self.cost_usd += usage["cost_usd"] or 0.0

    def __str__(self) -> str:
        calls = "call" if self.calls == 1 else "calls"
        text = f"; {self.calls:,} {calls} to the model, {self.tokens:,} tokens"
        text += f", {self.cost_usd:.4f} US dollars" if self.cost_usd else ""
        return text if self.calls else ""


@dataclass(slots=True)
class RunTally:
    """Counts over all results, and the first few of them.

    `bytes_in` and `bytes_out` are those of files of which a copy was made, to compare them.
    """

    ended: int = 0
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_made: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    rows: list[ItemResult] = field(default_factory=list)
    failures: list[ItemResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    asked: ModelUsage = field(default_factory=ModelUsage)
    began: float = field(default_factory=time.monotonic)

    @property
    def spent_s(self) -> float:
        """Time since the tally was begun."""
        return time.monotonic() - self.began

    def add(self, result: ItemResult) -> None:
        """Count a result."""
        self.ended += 1
        if result.error is not None:
            self.failed += 1
            self.causes[result.error.code] += 1
            _keep(self.failures, result)
            return
        if result.skipped is not None:
            self.skipped[result.skipped.value] += 1
        if is_smaller_copy(result):
            self.bytes_in += result.source.bytes
            self.bytes_out += result.bytes_out
        self.bytes_made += result.bytes_out
        self.asked.add(result.data.get("usage"))
        _keep(self.rows, result)
        for warning in result.warnings:
            _keep(self.notes, f"{result.source.name}: {warning}")


def is_smaller_copy(result: ItemResult) -> bool:
    """Say whether bytes were saved: what is told about a file or cut out of it is no copy of it."""
    return bool(result.files) and not result.data


def _keep(first: list[T], one: T) -> None:
    if len(first) < ROWS:
        first.append(one)


def print_plan(plan: RunPlan, options: RunOptions) -> None:
    """Print on stdout what would be done."""
    count = sum(item.bytes for item in plan.items)
    if options.json:
        body = {
            "pipeline": plan.pipeline.to_json(),
            "files": len(plan.items),
            "bytes": count,
            "left_out": {"done": plan.done, "existing": plan.existing},
            "concurrency": plan.rules.children,
        }
        print(json.dumps(body))
        return
    steps = " → ".join(step.use for step in plan.pipeline.steps)
    print(f"{plan.pipeline.name}: {steps}, {plan.rules.children} at once")
    for item in plan.items[:ROWS]:
        print(f"  {clean(item.name)}  {size(item.bytes)}")
    if len(plan.items) > ROWS:
        print(f"  … and {len(plan.items) - ROWS:,} more")
    print(f"{files(len(plan.items))}, {size(count)}; nothing was done{_left_out(plan)}")


def print_summary(
    plan: RunPlan, tally: RunTally, options: RunOptions, *, interrupted: bool
) -> None:
    """Print on stderr what was done."""
    if tally.rows and not options.dry_run:
        head, _, rows = _table(tally).partition("\n")
        _say(head, bold=True)
        _say(rows)
        if len(tally.rows) < tally.ended - tally.failed:
            more = tally.ended - tally.failed - len(tally.rows)
            _say(f"… and {more:,} more")
    for note in tally.notes:
        _say(f"note    {clean(note)}", fg="yellow")
    for result in tally.failures:
        message = result.error.message if result.error else ""
        text = f"failed  {clean(result.source.name)}: {clean(message)}"
        _say(text, fg="red")
    if len(tally.failures) < tally.failed:
        causes = ", ".join(f"{code} {count:,}" for code, count in tally.causes.most_common())
        more = tally.failed - len(tally.failures)
        _say(f"… and {more:,} more failures; all: {causes}")
    _say(_line(plan, tally))
    for line in _advice(plan, tally, options, interrupted=interrupted):
        _say(line)


def _say(text: str, **style: Any) -> None:  # noqa: ANN401 - what typer.secho takes
    """Print on stderr; in color on a terminal, unless NO_COLOR is set."""
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    typer.secho(text, err=True, color=False if is_plain else None, **style)


def _table(tally: RunTally) -> str:
    rows = [("file", "before", "after", "saved", "time")]
    for result in tally.rows:
        before, after = result.source.bytes, result.bytes_out
        less = saved(before, after) if is_smaller_copy(result) else ""
        rows.append(
            (
                clean(result.source.name),
                size(before),
                size(after) if result.files else "",
                result.skipped.value.replace("_", " ") if result.skipped else less,
                f"{result.run_ms / 1000:.2f} s",
            )
        )
    return table(rows, right_from=1)


def _line(plan: RunPlan, tally: RunTally) -> str:
    done = tally.ended - tally.failed - sum(tally.skipped.values())
    parts = [f"{files(tally.ended)} in {duration(tally.spent_s)}: {done:,} done"]
    parts += [f"{count:,} skipped ({why})" for why, count in tally.skipped.items()]
    parts += [f"{tally.failed:,} failed"] if tally.failed else []
    text = ", ".join(parts)
    if tally.bytes_out:
        text += f"; {size(tally.bytes_in)} → {size(tally.bytes_out)}"
        text += f", {saved(tally.bytes_in, tally.bytes_out)} saved"
    elif tally.bytes_made:
        text += f"; {size(tally.bytes_made)} made"
    return f"{text}{tally.asked}{_left_out(plan)}."


def _left_out(plan: RunPlan) -> str:
    text = f"; {plan.done:,} were done before" if plan.done else ""
    text += f", {plan.failed_earlier:,} of them failed" if plan.failed_earlier else ""
    return text + (f"; {plan.existing:,} results existed" if plan.existing else "")


def _advice(
    plan: RunPlan, tally: RunTally, options: RunOptions, *, interrupted: bool
) -> Iterator[str]:
    left = len(plan.items) - tally.ended
    if interrupted:
        how = "--resume" if options.joblog else "--skip-existing"
        what = "Stopped watching" if options.watch else f"Interrupted with {files(left)} to do"
        yield f"{what}; the same command with {how} goes on."
    elif left > 0 and not options.watch:
        yield f"Halted with {files(left)} to do, as --halt {options.halt} says."
    if plan.failed_earlier and not options.resume_failed:
        yield "--resume-failed tries the failed files again."
    if options.sample is not None and tally.ended and len(plan.found) > tally.ended:
        yield _estimate(plan, tally)


def _estimate(plan: RunPlan, tally: RunTally) -> str:
    """Tell what all files would take, by their bytes."""
    sampled = sum(item.bytes for item in plan.items)
    factor = sum(item.bytes for item in plan.found) / max(1, sampled)
    text = f"All {files(len(plan.found))} would take about {duration(tally.spent_s * factor)}"
    return f"{text} and make about {size(tally.bytes_made * factor)}."
