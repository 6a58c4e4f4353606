"""Breaks what workers count for themselves, and what folds it into the batch's row."""

from mutants.mutant import Mutant

_BATCHES = "src/batchmill/db/batches.py"
_COUNTERS = "src/batchmill/db/counters.py"
_ITEMS = "src/batchmill/db/items.py"
_TURNS = "src/batchmill/db/turns.py"
_PREPARED = "src/batchmill/db/prepared.py"
_DELIVERY = "src/batchmill/service/scheduling/transitions.py"
_FINISHING = "src/batchmill/service/scheduling/finishing.py"
_CONTROL = "src/batchmill/service/batch_control.py"
_SWEEP = "src/batchmill/service/sweep.py"
_COUNTED = "tests/service/test_counters.py"
_ORDER = "tests/service/scheduling/test_lock_order.py"
_LAW = "tests/service/scheduling/test_transitions_properties.py"

MUTANTS = (
    Mutant(
        "count-claims-alone",
        _DELIVERY,
        "is_alone = is_capped or turn.is_new",
        "is_alone = True",
        "a claim waits for no other",
        (_COUNTED,),
        on_servers=True,
    ),
    Mutant(
        "count-bounded-beside",
        _DELIVERY,
        "is_alone = is_capped or turn.is_new",
        "is_alone = turn.is_new",
        "of a batch with a limit one claims at a time",
        (_COUNTED, _LAW),
        on_servers=True,
    ),
    Mutant(
        "count-new-beside",
        _DELIVERY,
        "is_alone = is_capped or turn.is_new",
        "is_alone = is_capped",
        "the first claim starts the batch",
        ("tests/service/test_delivery_stories.py",),
    ),
    Mutant(
        "count-begin-alone",
        _DELIVERY,
        "if by is None and batches.lock(conn, batch_id) is None:\n        return 0\n    held = items.hold(conn, list(ages_ms))",
        "if batches.lock(conn, batch_id) is None:\n        return 0\n    held = items.hold(conn, list(ages_ms))",
        "a begin waits for no other",
        (_COUNTED,),
        on_servers=True,
    ),
    Mutant(
        "count-finish-alone",
        _DELIVERY,
        "batch = batches.lock(conn, batch_id) if by is None else None",
        "batch = batches.lock(conn, batch_id)",
        "a finish that leaves more waits for no other",
        (_COUNTED,),
    ),
    Mutant(
        "count-last-beside",
        _FINISHING,
        "if self._keeper.has_more_of(batch_id) else None",
        "if True else None",
        "the last finish of a worker may end the batch",
        ("tests/service/scheduling/test_finishing.py",),
    ),
    Mutant(
        "count-halt-beside",
        _DELIVERY,
        "each.claimed.may_halt for each in ended):\n        by = None",
        "each.claimed.may_halt for each in ended):\n        pass",
        "a failure that may stop its batch does",
        (_COUNTED,),
    ),
    Mutant(
        "count-settle-never",
        _FINISHING,
        "self._unsettled.add(batch_id)",
        "pass",
        "a batch that is worked on shows its pace",
        ("tests/service/scheduling/test_finishing.py",),
    ),
    Mutant(
        "count-lock-first",
        _BATCHES,
        'conn.execute(_locking(), {"batch_id": batch_id})',
        "pass",
        "who changes a batch does so alone",
        ("tests/service/test_delivery_stories.py",),
        on_servers=True,
    ),
    Mutant(
        "count-turn",
        _COUNTERS,
        'turn = {} if now is None else {"turn_at": now}',
        "turn: dict[str, Clock] = {}",
        "a claim that a worker counts itself moves the turn",
        (_COUNTED,),
    ),
    Mutant(
        "count-turn-of-row",
        _TURNS,
        "case((own < others, others), else_=own)",
        "own",
        "the last turn is the latest of all workers",
        (_COUNTED,),
    ),
    Mutant(
        "count-revision",
        _COUNTERS,
        'row = {"revision": 1, **moved, **sums}',
        "row = {**moved, **sums}",
        "whoever watches sees that something has changed",
        (_COUNTED,),
    ),
    Mutant(
        "count-fold-keeps",
        _COUNTERS,
        "conn.execute(counters.delete().where(gone))",
        "pass",
        "what is folded in counts once",
        (_COUNTED,),
    ),
    Mutant(
        "count-fold-loses",
        _COUNTERS,
        'prepared.change(conn, batches, {"id": batch_id}, grown)',
        "pass",
        "what is folded in still counts",
        (_COUNTED,),
    ),
    Mutant(
        "count-fold-all",
        _COUNTERS,
        "    if only:\n        chosen &= counters.c.worker_id.in_(only)\n",
        "",
        "of living workers nothing is folded in",
        (_COUNTED,),
    ),
    Mutant(
        "count-fold-living",
        _COUNTERS,
        "counters.c.worker_id.not_in(select(workers.c.id))",
        "counters.c.worker_id.in_(select(workers.c.id))",
        "only what gone workers counted is folded in",
        (_COUNTED,),
    ),
    Mutant(
        "count-retry-unfolded",
        _CONTROL,
        "    counters.fold(conn, batch_id)  # what a new run",
        "    # what a new run",
        "a new run begins with an empty pace",
        (_COUNTED,),
    ),
    Mutant(
        "count-deleted",
        _CONTROL,
        "    counters.delete_of_batch(conn, batch_id)\n",
        "",
        "a deleted batch leaves nothing",
        (_COUNTED,),
    ),
    Mutant(
        "count-upsert",
        _PREPARED,
        "changed = {name: table.c[name] + adding.excluded[name] for name in summed}",
        "changed = {name: adding.excluded[name] for name in summed}",
        "what is counted adds up",
        (_COUNTED,),
    ),
    Mutant(
        "count-upsert-mysql",
        _PREPARED,
        "changed = {name: table.c[name] + new[name] for name in summed}",
        "changed = {name: new[name] for name in summed}",
        "what is counted adds up on MariaDB",
        (_COUNTED,),
        on_servers=True,
    ),
    Mutant(
        "count-held-unlocked",
        _ITEMS,
        "        .order_by(items.c.id)\n        .with_for_update()",
        "        .order_by(items.c.id)",
        "what a finish found is still so when it writes",
        (_ORDER,),
        on_servers=True,
    ),
    Mutant(
        "count-skip",
        _TURNS,
        ".with_for_update(skip_locked=True)",
        ".with_for_update()",
        "a claim waits for no other claim",
        (_COUNTED,),
        on_servers=True,
    ),
    Mutant(
        "count-update-scans",
        "src/batchmill/db/by_id.py",
        "_TABLES.sub(_in_order, compiler.visit_update(element, **kw), count=1)",
        "compiler.visit_update(element, **kw)",
        "on MariaDB a write looks at no row of others",
        (_COUNTED,),
        on_servers=True,
    ),
    Mutant(
        "count-backstop",
        _SWEEP,
        "    finish_cancelled,\n    end_finished,\n",
        "    finish_cancelled,\n",
        "the sweep ends what a finish has missed",
        ("tests/service/test_sweep.py",),
    ),
)
