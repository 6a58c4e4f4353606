"""Runs a plan in this process: hands out files, notes results, halts, watches."""

import asyncio
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TextIO

from batchmill import logs
from batchmill.cli.command import ALL_FINE, INTERRUPTED, SOME_FAILED, debugging
from batchmill.cli.run import plan as plans
from batchmill.cli.run.options import RunOptions
from batchmill.cli.run.plan import RunPlan
from batchmill.cli.run.progress import Display, display
from batchmill.cli.run.stock_csv import StockCsv
from batchmill.cli.run.summary import RunTally, print_plan, print_summary
from batchmill.cli.run.watch import INTERVAL_S, Settling, Watcher
from batchmill.local.inputs import LocalInput
from batchmill.local.joblog import Joblog
from batchmill.local.outputs import Folder, Memory
from batchmill.local.process import process_items
from batchmill.local.results import ItemResult
from batchmill.local.session import open_session


def execute(options: RunOptions) -> int:
    """Do what the command line says and return the exit code.

    Raises:
        RequestError: the command line makes no sense.
    """
    if debugging():
        logs.set_up(level="debug")
    plan = plans.make(options)
    if options.dry_run and options.sample is None:
        print_plan(plan, options)
        return ALL_FINE
    tally = RunTally()
    interrupted = not asyncio.run(_work(plan, options, tally))
    if not options.quiet:
        print_summary(plan, tally, options, interrupted=interrupted)
    if interrupted:
        return INTERRUPTED
    return SOME_FAILED if tally.failed or plan.failed_earlier else ALL_FINE


async def _work(plan: RunPlan, options: RunOptions, tally: RunTally) -> bool:
    """Work until the end; False when the user, or the system, ended it before."""
    folder = None if options.dry_run else options.output
    outputs = _outputs(plan, options)
    with ExitStack() as stack:
        total = 0 if options.watch else len(plan.items)
        shown = stack.enter_context(display(total, quiet=options.quiet))
        log = _open_log(plan, options, stack)
        stdout = sys.stdout if options.json else None
        listeners = _Listeners(tally, shown, log, stdout, _open_stock(options, stack))
        run = _Run(plan, listeners, _watcher(plan, options))
        _interrupt_on(signal.SIGINT, signal.SIGTERM)
        try:
            async with open_session(
                plan.pipeline, outputs, plan.rules, output_dir=folder
            ) as session:
                rules = plan.rules
                await process_items(run, session, concurrency=rules.concurrency, ahead=rules.ahead)
        except _HaltedError:
            return True
        except asyncio.CancelledError:
            return False
    return True


def _interrupt_on(*signals: signal.Signals) -> None:
    """Cancel the current task on a signal; what it opened is closed on the way out."""
    task = asyncio.current_task()
    if task is not None:
        for each in signals:
            asyncio.get_running_loop().add_signal_handler(each, task.cancel)


def _outputs(plan: RunPlan, options: RunOptions) -> Folder | Memory:
    if options.output is None or options.dry_run:
        return Memory(contents=False)
    return Folder(options.output, overwrite=options.overwrite, earlier=plan.earlier)


def _open_log(plan: RunPlan, options: RunOptions, stack: ExitStack) -> Joblog | None:
    if options.joblog is None or options.dry_run:
        return None
    return stack.enter_context(Joblog(options.joblog, plan.pipeline))


def _open_stock(options: RunOptions, stack: ExitStack) -> StockCsv | None:
    if options.stock_csv is None or options.dry_run:
        return None
    more = options.resume or options.resume_failed
    return stack.enter_context(StockCsv(options.stock_csv, more=more))


def _watcher(plan: RunPlan, options: RunOptions) -> Watcher | None:
    if not options.watch:
        return None
    wanted = {item.key for item in plan.items}
    known = [item for item in plan.found if item.key not in wanted]
    return Watcher(
        lambda: plans.search(options),
        Settling(options.settle, known),
        interval_s=min(INTERVAL_S, options.settle or INTERVAL_S),
    )


class _HaltedError(Exception):
    """`--halt now` was reached."""


@dataclass(frozen=True, slots=True)
class _Listeners:
    """Who hears of results."""

    tally: RunTally
    display: Display
    log: Joblog | None
    json: TextIO | None
    stock: StockCsv | None

    def hear(self, result: ItemResult) -> None:
        if self.log is not None:
            self.log.add(result)
        if self.json is not None:
            line = json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False)
            print(line, file=self.json, flush=True)
        if self.stock is not None:
            self.stock.add(result)
        self.tally.add(result)
        self.display.ended(self.tally)


class _Run:
    """What `process_items` asks and tells."""

    def __init__(self, plan: RunPlan, listeners: _Listeners, watcher: Watcher | None) -> None:
        self._plan = plan
        self._waiting = iter(plan.items if watcher is None else ())
        self._listeners = listeners
        self._watcher = watcher
        self._halted = False

    async def next_item(self) -> LocalInput | None:
        if self._halted:
            return None
        if self._watcher is None:
            return next(self._waiting, None)
        item = await self._watcher.next()
        self._listeners.display.grow()
        return item

    async def ended(self, _item: LocalInput, result: ItemResult) -> None:
        self._listeners.hear(result)
        failed = self._listeners.tally.failed
        if self._plan.halt.reached(failed, len(self._plan.items)):
            self._halted = True
            if self._plan.halt.at_once:
                raise _HaltedError
