"""Every table and index. Times are milliseconds of the database's clock, sizes are bytes.

A batch's counters (`n_…`) stand in its row and in `counters`, changed in the transaction that
changes an item, so no page ever counts rows. Index names say which question they answer.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
)
from sqlalchemy import text as sql

from batchmill.db.types import Instant, text

metadata = MetaData()

_ID = text(40)


def _counter(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


batches = Table(
    "batches",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner_id", _ID, nullable=False),
    Column("status", text(24), nullable=False),
    Column("paused", Boolean, nullable=False, server_default="0"),
    Column("pause_reason", text(200)),
    Column("open", Boolean, nullable=False, server_default="0"),
    Column("name", text(200)),
    Column("pipeline", JSON, nullable=False),
    Column("pipeline_name", text(200), nullable=False),
    Column("family", text(40), nullable=False),
    Column("tier", text(24), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("concurrency", Integer),
    Column("halt_after_pct", Float),
    Column("time_limit_s", Integer),
    Column("metadata", JSON, nullable=False),
    Column("tag", text(100)),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("expires_at", Instant),
    Column("upload_until", Instant),
    Column("turn_at", Instant, nullable=False, server_default="0"),
    Column("retry_due_at", Instant),
    Column("outage_since", Instant),
    Column("outage_until", Instant),
    Column("end_work", Boolean, nullable=False, server_default="0"),
    Column("end_worker_id", _ID),
    Column("end_attempt", Integer, nullable=False, server_default="0"),
    Column("end_errors", Integer, nullable=False, server_default="0"),
    Column("end_due_at", Instant, nullable=False, server_default="0"),
    Column("revision", BigInteger, nullable=False, server_default="1"),
    Column("run_no", Integer, nullable=False, server_default="1"),
    Column("run_started_at", Instant),
    _counter("run_base"),
    _counter("n_pending"),
    _counter("n_queued"),
    _counter("n_processing"),
    _counter("n_retrying"),
    _counter("n_completed"),
    _counter("n_failed"),
    _counter("n_skipped"),
    _counter("n_cancelled"),
    _counter("n_quarantined"),
    _counter("bytes_in"),
    _counter("bytes_done"),
    _counter("bytes_out"),
    _counter("bytes_saved"),
    _counter("run_ms"),
    Column("run_s2", Float, nullable=False, server_default="0"),
    _counter("busy_ms"),
    Column("settled_at", Instant),
    Column("result_token", text(32)),
    Column("webhook_id", _ID),
    Index("batches_by_owner", "owner_id", "id"),
    Index("batches_by_owner_status", "owner_id", "status"),
    Index("batches_by_status", "status"),
    Index("batches_by_expiry", "expires_at"),
)

counters = Table(
    "counters",
    metadata,
    Column("batch_id", _ID, primary_key=True),
    Column("worker_id", _ID, primary_key=True),
    Column("turn_at", Instant, nullable=False, server_default="0"),
    _counter("revision"),
    _counter("n_pending"),
    _counter("n_queued"),
    _counter("n_processing"),
    _counter("n_retrying"),
    _counter("n_completed"),
    _counter("n_failed"),
    _counter("n_skipped"),
    _counter("n_cancelled"),
    _counter("n_quarantined"),
    _counter("bytes_done"),
    _counter("bytes_out"),
    _counter("bytes_saved"),
    _counter("run_ms"),
    Column("run_s2", Float, nullable=False, server_default="0"),
)
"""What a worker has counted of a batch; written by that worker alone, and summed with the batch."""

items = Table(
    "items",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("batch_id", _ID, nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", text(1024), nullable=False),
    Column("custom_id", text(200)),
    Column("status", text(12), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("begun", Integer, nullable=False, server_default="0"),
    Column("lost", Integer, nullable=False, server_default="0"),
    Column("rescued", Integer, nullable=False, server_default="0"),
    Column("dispatch_no", Integer, nullable=False, server_default="0"),
    Column("errors", Integer, nullable=False, server_default="0"),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("timeouts", Integer, nullable=False, server_default="0"),
    Column("due_at", Instant, nullable=False, server_default="0"),
    Column("lease_until", Instant),
    Column("worker_id", _ID),
    Column("input_key", text(200), nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    Column("input_sha256", text(64)),
    Column("input_type", text(100)),
    Column("input_absent", text(200)),
    Column("entry", JSON(none_as_null=True)),
    Column("options", JSON(none_as_null=True)),
    Column("progress", Float, nullable=False, server_default="0"),
    Column("failure_no", BigInteger),
    Column("error_code", text(64)),
    Column("error_message", text(1000)),
    Column("error_step", text(200)),
    Column("error_retryable", Boolean),
    Column("skip_reason", text(24)),
    Column("outputs", JSON(none_as_null=True)),
    Column("data", JSON(none_as_null=True)),
    Column("warnings", JSON(none_as_null=True)),
    Column("step_ms", JSON(none_as_null=True)),
    Column("queued_at", Instant),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("run_ms", BigInteger),
    Index("items_by_batch_position", "batch_id", "position", unique=True),
    Index("items_by_batch_status", "batch_id", "status", "due_at", "position"),
    Index("items_by_batch_ended", "batch_id", "ended_at"),
    Index("items_by_batch_name", "batch_id", "name", mysql_length={"name": 200}),
    Index("items_by_failure", "failure_no", "position"),
    Index(
        "items_by_worker",
        "worker_id",
        postgresql_where=sql("worker_id IS NOT NULL"),
        sqlite_where=sql("worker_id IS NOT NULL"),
    ),
)
"""`dispatch_no`, `lease_until` and `retry_due_at` of batches are of older versions, and go with the
next release."""

failures = Table(
    "failures",
    metadata,
    Column("no", BigInteger, primary_key=True, autoincrement=False),
    Column("batch_id", _ID, nullable=False),
    Column("code", text(64), nullable=False),
    Column("message", text(1000), nullable=False),
    Column("retryable", Boolean, nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Index("failures_by_batch", "batch_id", "count"),
)

leaders = Table(
    "leaders",
    metadata,
    Column("name", text(40), primary_key=True),
    Column("holder", _ID, nullable=False),
    Column("lease_until", Instant, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    Column("name", text(40), primary_key=True),
    Column("reason", text(200), nullable=False),
    Column("since", Instant, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("host", text(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("draining", Boolean, nullable=False, server_default="0"),
    Column("started_at", Instant, nullable=False),
    Column("lease_until", Instant, nullable=False),
    Column("stats", JSON, nullable=False),
)

shares = Table(
    "shares",
    metadata,
    Column("owner_id", _ID, primary_key=True),
    Column("worker_id", _ID, primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("aged_slots", Integer, nullable=False),
    Column("served_ms", BigInteger, nullable=False),
    Index("shares_by_worker", "worker_id"),
)
"""What an owner has of a worker; written by that worker alone."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("owner_id", _ID, primary_key=True),
    Column("key", text(200), primary_key=True),
    Column("body_sha256", text(64), nullable=False),
    Column("status_code", Integer),
    Column("headers", JSON(none_as_null=True)),
    Column("body", LargeBinary),
    Column("created_at", Instant, nullable=False),
    Index("idempotency_by_age", "created_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("secret_sha256", text(64), nullable=False),
    Column("owner_id", _ID, nullable=False),
    Column("name", text(200), nullable=False),
    Column("tier", text(24), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),
    Column("revoked_at", Instant),
    Index("api_keys_by_secret", "secret_sha256", unique=True),
    Index("api_keys_by_owner", "owner_id", "id"),
)

rate_windows = Table(
    "rate_windows",
    metadata,
    Column("name", text(200), primary_key=True),
    Column("started_at", Instant, nullable=False),
    Column("ends_at", Instant, nullable=False),
    Column("used", BigInteger, nullable=False),
    Index("rate_windows_by_end", "ends_at"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner_id", _ID, nullable=False),
    Column("name", text(1024), nullable=False),
    Column("metadata", text(4000), nullable=False),
    Column("length_bytes", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("uploads_by_owner", "owner_id"),
    Index("uploads_by_expiry", "expires_at"),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", text(40), primary_key=True),
    Column("value", text(200), nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("owner_id", _ID, nullable=False),
    Column("url", text(2_000), nullable=False),
    Column("secret", text(100), nullable=False),
    Column("every_batch", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index("webhooks_by_owner", "owner_id", "id"),
)

notices = Table(
    "notices",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("webhook_id", _ID, nullable=False),
    Column("batch_id", _ID, nullable=False),
    Column("status", text(12), nullable=False),
    Column("body", JSON, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("answered", Integer),
    Column("error", text(200)),
    Index("notices_by_due", "status", "due_at", "webhook_id"),
    Index("notices_by_webhook", "webhook_id", "id"),
    Index("notices_by_age", "created_at"),
)

installation = Table(
    "installation",
    metadata,
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("id", _ID, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("raised_at", Instant, nullable=False),
)

stores = Table(
    "stores",
    metadata,
    Column("name", text(40), primary_key=True),
    Column("marked_at", Instant, nullable=False),
)

orphans = Table(
    "orphans",
    metadata,
    Column("kind", text(24), primary_key=True),
    Column("name", _ID, primary_key=True),
    Column("first_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("confirmed", Boolean, nullable=False, server_default="0"),
)
