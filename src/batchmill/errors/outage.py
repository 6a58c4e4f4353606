"""What is away for a while: disk space, databases, brokers, servers."""

from batchmill.errors.base import BatchmillError


class OutageError(BatchmillError):
    """A dependency did not answer; trying again later may work."""

    code = "outage"
    status = 503
    exit_code = 3
    retryable = True
    remedy = "Wait and try again; `batchmill doctor` says what is away."


class StorageFullError(OutageError):
    """No space is left where bytes are kept."""

    code = "storage_full"
    status = 507
    remedy = "Free disk space or lower BATCHMILL_DISK_RESERVE_BYTES; work goes on by itself."

    def __init__(self) -> None:
        super().__init__("The storage is full; free some space and try again.")


class StorageUnavailableError(OutageError):
    """The bucket does not answer, or refuses the keys."""

    code = "storage_unavailable"
    remedy = "Start the object storage, or correct BATCHMILL_STORAGE_URL and BATCHMILL_S3_…"

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__("The storage does not answer; try again later.", detail=detail)


class DatabaseUnavailableError(OutageError):
    """The database does not answer."""

    code = "database_unavailable"
    remedy = "Start the database, or correct BATCHMILL_DATABASE_URL."


class EngineUnavailableError(OutageError):
    """The engine's broker does not answer."""

    code = "engine_unavailable"
    remedy = "Start Redis, or correct BATCHMILL_REDIS_URL; queued work is not lost."


class RunnerUnavailableError(OutageError):
    """No child process could be started."""

    code = "runner_unavailable"
    remedy = "Run `batchmill doctor`; it starts a child and shows what stops it."

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__("No process to work on files could be started.", detail=detail)


class ServerUnreachableError(OutageError):
    """The batchmill server does not answer."""

    code = "server_unreachable"
    remedy = "Start `batchmill serve`, or name the right address with --server."

    def __init__(self, url: str) -> None:
        super().__init__(f"No batchmill server answers at {url}.")
