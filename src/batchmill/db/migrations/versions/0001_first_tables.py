"""The first tables."""

import sqlalchemy as sa
from alembic import op

from batchmill.db.types import Instant, text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "api_keys",
        sa.Column("id", text(40), nullable=False),
        sa.Column("secret_sha256", text(64), nullable=False),
        sa.Column("owner_id", text(40), nullable=False),
        sa.Column("name", text(200), nullable=False),
        sa.Column("tier", text(24), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.Column("revoked_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("api_keys_by_owner", "api_keys", ["owner_id", "id"], unique=False)
    op.create_index("api_keys_by_secret", "api_keys", ["secret_sha256"], unique=True)

    op.create_table(
        "batches",
        sa.Column("id", text(40), nullable=False),
        sa.Column("owner_id", text(40), nullable=False),
        sa.Column("status", text(24), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("pause_reason", text(200), nullable=True),
        sa.Column("open", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("name", text(200), nullable=True),
        sa.Column("pipeline", sa.JSON(), nullable=False),
        sa.Column("pipeline_name", text(200), nullable=False),
        sa.Column("family", text(40), nullable=False),
        sa.Column("tier", text(24), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=True),
        sa.Column("halt_after_pct", sa.Float(), nullable=True),
        sa.Column("time_limit_s", sa.Integer(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("tag", text(100), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("expires_at", Instant(), nullable=True),
        sa.Column("upload_until", Instant(), nullable=True),
        sa.Column("turn_at", Instant(), server_default="0", nullable=False),
        sa.Column("retry_due_at", Instant(), nullable=True),
        sa.Column("revision", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("run_no", sa.Integer(), server_default="1", nullable=False),
        sa.Column("run_started_at", Instant(), nullable=True),
        sa.Column("run_base", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_queued", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_processing", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_retrying", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_completed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_skipped", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_cancelled", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("n_quarantined", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_in", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_out", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_saved", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("run_s2", sa.Float(), server_default="0", nullable=False),
        sa.Column("busy_ms", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_at", Instant(), nullable=True),
        sa.Column("result_token", text(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("batches_by_expiry", "batches", ["expires_at"], unique=False)
    op.create_index("batches_by_owner", "batches", ["owner_id", "id"], unique=False)
    op.create_index("batches_by_owner_status", "batches", ["owner_id", "status"], unique=False)
    op.create_index("batches_by_status", "batches", ["status"], unique=False)

    op.create_table(
        "failures",
        sa.Column("no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch_id", text(40), nullable=False),
        sa.Column("code", text(64), nullable=False),
        sa.Column("message", text(1000), nullable=False),
        sa.Column("retryable", sa.Boolean(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", Instant(), nullable=False),
        sa.Column("last_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("no"),
    )
    op.create_index("failures_by_batch", "failures", ["batch_id", "count"], unique=False)

    op.create_table(
        "idempotency",
        sa.Column("owner_id", text(40), nullable=False),
        sa.Column("key", text(200), nullable=False),
        sa.Column("body_sha256", text(64), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "key"),
    )
    op.create_index("idempotency_by_age", "idempotency", ["created_at"], unique=False)

    op.create_table(
        "items",
        sa.Column("id", text(40), nullable=False),
        sa.Column("batch_id", text(40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", text(1024), nullable=False),
        sa.Column("custom_id", text(200), nullable=True),
        sa.Column("status", text(12), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dispatch_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("errors", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("timeouts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", Instant(), server_default="0", nullable=False),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("worker_id", text(40), nullable=True),
        sa.Column("input_key", text(200), nullable=False),
        sa.Column("input_bytes", sa.BigInteger(), nullable=False),
        sa.Column("input_sha256", text(64), nullable=True),
        sa.Column("input_type", text(100), nullable=True),
        sa.Column("entry", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("options", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False),
        sa.Column("failure_no", sa.BigInteger(), nullable=True),
        sa.Column("error_code", text(64), nullable=True),
        sa.Column("error_message", text(1000), nullable=True),
        sa.Column("error_step", text(200), nullable=True),
        sa.Column("error_retryable", sa.Boolean(), nullable=True),
        sa.Column("skip_reason", text(24), nullable=True),
        sa.Column("outputs", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("warnings", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("step_ms", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("queued_at", Instant(), nullable=True),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("run_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("items_by_batch_ended", "items", ["batch_id", "ended_at"], unique=False)
    op.create_index(
        "items_by_batch_name",
        "items",
        ["batch_id", "name"],
        unique=False,
        mysql_length={"name": 200},
    )
    op.create_index("items_by_batch_position", "items", ["batch_id", "position"], unique=True)
    op.create_index(
        "items_by_batch_status", "items", ["batch_id", "status", "due_at", "position"], unique=False
    )
    op.create_index("items_by_failure", "items", ["failure_no", "position"], unique=False)

    op.create_table(
        "leaders",
        sa.Column("name", text(40), nullable=False),
        sa.Column("holder", text(40), nullable=False),
        sa.Column("lease_until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "rate_windows",
        sa.Column("name", text(200), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("ends_at", Instant(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("rate_windows_by_end", "rate_windows", ["ends_at"], unique=False)

    op.create_table(
        "secrets",
        sa.Column("name", text(40), nullable=False),
        sa.Column("value", text(200), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "workers",
        sa.Column("id", text(40), nullable=False),
        sa.Column("host", text(200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("lease_until", Instant(), nullable=False),
        sa.Column("stats", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
