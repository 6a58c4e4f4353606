"""Leases, rescue and the sweep: what a silent worker leaves goes on elsewhere, and only that."""

from mutants.mutant import Mutant

_ITEMS = "src/batchmill/db/items.py"
_WORKERS = "src/batchmill/db/workers.py"
_DELIVERY = "src/batchmill/service/scheduling/transitions.py"
_LEASES = "src/batchmill/service/scheduling/leases.py"
_HEARTBEAT = "src/batchmill/service/scheduling/heartbeat.py"
_FINISHING = "src/batchmill/service/scheduling/finishing.py"
_PROCESS = "src/batchmill/service/execution/process_item.py"
_SWEEP = "src/batchmill/service/sweep.py"
_STORIES = "tests/service/test_delivery_stories.py"
_KEEPING = "tests/service/test_leases.py"
_OVER = "tests/service/test_boundaries.py"
_SWEPT = "tests/service/test_sweep.py"
_WRITING = "tests/service/scheduling/test_finishing.py"
_WORK = "tests/service/execution/test_process_item.py"

MUTANTS = (
    # Leases
    Mutant(
        "lease-renewal",
        _WORKERS,
        'alive = {"lease_until": now + lease_ms, ',
        'alive = {"lease_until": workers.c.lease_until, ',
        "a renewal prolongs the lease",
        (_STORIES,),
    ),
    Mutant(
        "lease-lives-again",
        _WORKERS,
        "workers.c.id == worker_id, workers.c.lease_until > now)\n    alive",
        "workers.c.id == worker_id)\n    alive",
        "a lease that has ended never lives again",
        (_STORIES, _OVER),
    ),
    Mutant(
        "lease-never-renewed",
        _HEARTBEAT,
        "await renew(server, slots=slots, on_lost=on_lost)",
        "pass",
        "an attempt longer than a lease stays one",
        (_KEEPING,),
    ),
    Mutant(
        "lease-lost-goes-on",
        _HEARTBEAT,
        "await on_lost()",
        "pass",
        "a worker whose lease was over stops all it did",
        (_KEEPING,),
    ),
    Mutant(
        "lease-given-up-again",
        _LEASES,
        "if not self.is_given_up and self.scope is not None:",
        "if self.scope is not None:",
        "an attempt is given up once",
        (_KEEPING,),
    ),
    Mutant(
        "lease-no-give-up",
        _LEASES,
        "self._give_up_before_expiry()\n            except",
        "pass\n            except",
        "without its database a worker gives up",
        (_KEEPING,),
    ),
    Mutant(
        "lease-give-up-nothing",
        _LEASES,
        "if settings.lease_s - silent_s < settings.renew_s:",
        "if settings.lease_s - silent_s < -9e9:",
        "without its database a worker gives up",
        (_KEEPING,),
    ),
    Mutant(
        "lease-dead-line",
        _LEASES,
        "await asyncio.shield(writing)",
        "await writing",
        "a dead line does not hold up giving up",
        equivalent="the check before it waits in a read, which a cancellation ends; the write that"
        " follows is spared waiting for, which only a line that dies in between would show",
    ),
    Mutant(
        "lease-taken-over-goes-on",
        _LEASES,
        "asked[item_id, attempt].give_up()",
        "pass",
        "an attempt whose claim is lost is stopped",
        (_KEEPING,),
    ),
    Mutant(
        "lease-unknown-kept",
        _LEASES,
        "unknown = set() if claiming else mine.keys() - self._held.keys()",
        "unknown: set[AttemptKey] = set()",
        "a claim whose answer was lost goes back",
        (_KEEPING,),
    ),
    Mutant(
        "lease-paused-kept",
        _LEASES,
        "if row.waits and self._waits(key)}",
        "if False}",
        "what has not begun of a paused batch goes back",
        (_KEEPING,),
    ),
    Mutant(
        "lease-begins-unnoted",
        _LEASES,
        "await self._note_begins()\n",
        "pass\n",
        "what runs for more than a moment is shown as processing",
        (_KEEPING,),
    ),
    Mutant(
        "lease-progress-falls",
        _LEASES,
        "max(held.progress, min(1.0, fraction))",
        "min(1.0, fraction)",
        "progress never goes back",
        (_KEEPING,),
    ),
    Mutant(
        "lease-progress-over-1",
        _LEASES,
        "min(1.0, fraction)",
        "fraction",
        "progress is at most 1",
        (_KEEPING,),
    ),
    Mutant(
        "lease-progress-unstored",
        _LEASES,
        "await self._store_progress()\n            except",
        "pass\n            except",
        "progress reaches the row",
        (_KEEPING,),
    ),
    # Rescue
    Mutant(
        "gone-boundary",
        _WORKERS,
        "living = select(workers.c.id).where(workers.c.lease_until >= now)",
        "living = select(workers.c.id).where(workers.c.lease_until > now)",
        "a lease holds to its last millisecond",
        (_STORIES,),
    ),
    Mutant(
        "rescue-living",
        _DELIVERY,
        " or worker_id not in workers.gone(conn, now=now):",
        ":",
        "what a living worker has is left alone",
        (_STORIES,),
    ),
    Mutant(
        "rescue-unmarked",
        _DELIVERY,
        "items.held(conn, claims), lost=True)",
        "items.held(conn, claims))",
        "an item whose worker is gone may have left files",
        (_STORIES,),
    ),
    Mutant(
        "return-uncounted",
        _DELIVERY,
        "deltas = _deltas(held.values(), to=ItemStatus.PENDING)",
        "deltas = _deltas([], to=ItemStatus.PENDING)",
        "counters equal the rows",
        (_STORIES,),
    ),
    Mutant(
        "forget-with-items",
        _WORKERS,
        "workers.c.lease_until < now, idle)",
        "workers.c.lease_until < now)",
        "a worker is not forgotten while it has items",
        (_STORIES,),
    ),
    Mutant(
        "handed-back-keeps-progress",
        _ITEMS,
        '"due_at": literal(0),\n    "progress": 0.0,\n    "started_at"',
        '"due_at": literal(0),\n    "started_at"',
        "who begins again begins at 0",
        (_STORIES,),
    ),
    Mutant(
        "released",
        _ITEMS,
        '    ("worker_id", _nothing),\n',
        "",
        "who has no claim is not named",
        (_STORIES,),
    ),
    # The sweep, and the rest of the service
    Mutant(
        "sweep-cancelled",
        _SWEEP,
        "stop_overdue,\n    finish_cancelled,",
        "stop_overdue,",
        "a cancellation that a kill broke off is finished",
        (_SWEPT,),
    ),
    Mutant(
        "sweep-dead", _SWEEP, "(\n    forget_dead,", "(", "dead processes are forgotten", (_SWEPT,)
    ),
    Mutant(
        "sweep-takes-over",
        _SWEEP,
        "await server.database.run(workers.end_all)",
        "pass",
        "a start takes over what a kill left",
        (_SWEPT,),
    ),
    Mutant(
        "hand-back-on-stop",
        _PROCESS,
        "await asyncio.shield(_return(server, claimed))",
        "pass",
        "a worker that stops hands back",
        (_WORK,),
    ),
    Mutant(
        "stale-outputs",
        _FINISHING,
        "await discard(self._server_context, claim)\n",
        "pass\n",
        "a stale worker leaves no file",
        equivalent="an attempt whose claim was taken over is stopped before it ends, and its files"
        " go then; this is for one that ends in the same second",
    ),
    Mutant(
        "lost-answer-discards",
        _FINISHING,
        "if not await server.database.read(items.superseded, [held]):",
        "if False:",
        "a finish whose answer was lost deletes no output",
        (_KEEPING,),
    ),
    Mutant(
        "ended-dropped",
        _FINISHING,
        "self._waiting, self._being_written = [*left.values(), *self._waiting], 0",
        "self._being_written = 0",
        "what ended while the database was away is written once it is back",
        (_KEEPING,),
    ),
    Mutant(
        "earlier-outputs",
        _FINISHING,
        "if ended.claimed.was_tried:",
        "if False:",
        "what killed attempts stored is removed",
        (_WORK,),
    ),
    Mutant(
        "stopped-batch-goes-on",
        _FINISHING,
        "self._keeper.begin_no_more(batch_id)",
        "pass",
        "nothing more begins of a batch that is stopped",
        (_WORK,),
    ),
    Mutant(
        "write-has-no-size",
        _FINISHING,
        "if portion and size_bytes + each_bytes > WRITE_BYTES:",
        "if False:",
        "no statement says more than a server takes",
        (_WRITING,),
    ),
    Mutant(
        "outage-of-one-stops-all",
        _FINISHING,
        "            return False\n        for each in ended:",
        "            raise\n        for each in ended:",
        "what ends of other batches is written while one is locked",
        (_WRITING,),
    ),
    Mutant(
        "usage-by-claims-alone",
        "src/batchmill/service/scheduling/claiming.py",
        "await self._tell_usage()",
        "pass",
        "what owners have is known although nothing more is claimed",
        (_KEEPING,),
    ),
    Mutant(
        "dead-worker-counts",
        "src/batchmill/db/shares.py",
        "shares.c.worker_id.not_in(living) & (shares.c.slots > 0)",
        "shares.c.worker_id.not_in(living) & (shares.c.slots > 99)",
        "slots of a worker that is gone count as free",
        ("tests/service/test_turns.py",),
    ),
    Mutant(
        "handed-back-leaves-files",
        _ITEMS,
        "rows[claim.item_id][1] in _WITHOUT_RESULT",
        "rows[claim.item_id][1] == ItemStatus.CANCELLED",
        "files of an attempt that was handed back are removed",
        ("tests/service/test_fence.py",),
    ),
    Mutant(
        "refused-is-outage",
        "src/batchmill/db/connect.py",
        "return isinstance(error, OperationalError) and not is_refused",
        "return isinstance(error, OperationalError)",
        "what a server refuses is no outage",
        ("tests/db/test_connect.py",),
    ),
    Mutant(
        "frozen-holds-locks",
        "src/batchmill/db/connect.py",
        """yield f"SET idle_in_transaction_session_timeout = '{IDLE_S}s'\"""",
        'yield "SELECT 1"',
        "a frozen process holds its locks for seconds",
        ("tests/db/test_connect.py",),
    ),
    Mutant(
        "retention-of-settings",
        _FINISHING,
        "retention_ms = self._server_context.settings.retention_s * 1000",
        "retention_ms = 604_800_000",
        "an ended batch is kept for the time of the settings",
        (_SWEPT,),
    ),
)
