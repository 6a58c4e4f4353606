"""What is away for a while: disk space, databases, brokers, servers."""

from collections.abc import Sequence

from batchmill.errors.base import BatchmillError


class OutageError(BatchmillError):
    """A dependency did not answer; trying again later may work."""

    code = "outage"
    status = 503
    exit_code = 3
    retryable = True
    remedy = "Wait and try again; `batchmill doctor` says what is away."
    retry_after_s: float | None = None
    """How long the dependency itself asks to be left alone, where it does."""
    step: str | None = None
    """Id of the step that needed it, where that is known."""


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
    remedy = "Start the object storage, or correct its address and the BATCHMILL_S3_… settings."

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__("The storage does not answer; try again later.", detail=detail)


class StorageDamagedError(OutageError):
    """What the storage returned is not what was put into it."""

    code = "storage_damaged"
    remedy = "Retry; if it stays so, the stored file is damaged: send it again."

    def __init__(self, *, detail: str) -> None:
        super().__init__("The stored file came back changed.", detail=detail)


class DatabaseUnavailableError(OutageError):
    """The database does not answer."""

    code = "database_unavailable"
    remedy = "Start the database, or correct BATCHMILL_DATABASE_URL."


class DatabaseUnsuitableError(OutageError):
    """The database server is too old, or set up so that it can't be used."""

    code = "database_unsuitable"
    retryable = False
    remedy = "Update or set up the server as the message says, or name another database."


class DatabaseMismatchError(OutageError):
    """The database's tables are those of another version of batchmill."""

    code = "database_mismatch"
    retryable = False
    remedy = (
        "Run the version that made the tables, or name an empty database: BATCHMILL_DATABASE_URL,"
        " or BATCHMILL_DATA_DIR where that is not set."
    )

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__(
            "The database holds tables of another version of batchmill, which this one can't use.",
            detail=detail,
        )


class OldProcessesError(OutageError):
    """Processes of an older version are at work on a database that is to get a new schema."""

    code = "old_processes"
    retryable = False
    remedy = (
        "Stop all servers and workers of the older version (`systemctl stop`, `batchmill workers"
        " drain`), then start this one again; nothing is lost."
    )

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            "The database needs a new schema, and processes of an older version still work on it:"
            f" {', '.join(names)}."
        )


class SecretKeyMissingError(OutageError):
    """A secret in the database is sealed with a key that this process does not have."""

    code = "secret_key_missing"
    remedy = (
        "Add the key that sealed it to BATCHMILL_SECRET_KEYS and start again; what waits for it"
        " is sent then."
    )

    def __init__(self) -> None:
        super().__init__("A secret is sealed with a key that is not configured.")


class SecretDamagedError(OutageError):
    """A secret in the database is not what was written there."""

    code = "secret_damaged"
    retryable = False
    remedy = "Restore the database from a backup, or make the webhook again: it gets a new secret."

    def __init__(self, webhook_id: str) -> None:
        super().__init__("The secret of a webhook was damaged in the database.", detail=webhook_id)


class NotifierUnavailableError(OutageError):
    """Redis, which tells workers of new work, does not answer."""

    code = "engine_unavailable"
    remedy = "Start Redis, or correct BATCHMILL_REDIS_URL; workers ask by themselves meanwhile."

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__("The queue does not answer; try again later.", detail=detail)


class RunnerUnavailableError(OutageError):
    """No child process could be started."""

    code = "runner_unavailable"
    remedy = "Run `batchmill doctor`; it starts a child and shows what stops it."

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__("No process to work on files could be started.", detail=detail)


class ModelBusyError(OutageError):
    """The model's server takes no more questions for a while."""

    code = "model_busy"
    holds_up = "the model's server takes no more questions for a while"
    remedy = "Nothing: it is asked again later. Fewer files at once (`concurrency`) avoid it."

    def __init__(
        self, name: str, retry_after_s: float | None, *, detail: str | None = None
    ) -> None:
        when = "" if retry_after_s is None else f"; it asks to wait {retry_after_s:g} s"
        super().__init__(
            f"The model's server has too many questions to take the one about {name}{when}.",
            detail=detail,
        )
        self.retry_after_s = retry_after_s


class ModelUnavailableError(OutageError):
    """The model's server does not answer, or has a fault."""

    code = "model_unavailable"
    holds_up = "the model's server does not answer"
    remedy = "Look whether the model's server is up; BATCHMILL_LLM_BASE_URL says where it is."

    def __init__(
        self,
        name: str,
        how: str,
        *,
        unasked: bool = False,
        retry_after_s: float | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(f"The model's server {how} when it was asked about {name}.", detail=detail)
        self.unasked = unasked
        """Whether the question surely was not answered, and so costs nothing."""
        self.retry_after_s = retry_after_s


class ServerBusyError(OutageError):
    """The server has more lists to read, or more streams open, than it keeps up with."""

    code = "server_busy"
    remedy = "Wait as long as Retry-After says; the status of a batch or item is always answered."

    def __init__(self, what: str) -> None:
        super().__init__(f"The server has {what}; try again in a few seconds.")


class ServerUnreachableError(OutageError):
    """The batchmill server does not answer."""

    code = "server_unreachable"
    remedy = "Start `batchmill serve`, or name the right address with --server."

    def __init__(self, url: str) -> None:
        super().__init__(f"No batchmill server answers at {url}.")


class CallFailedError(OutageError):
    """An address that a user named does not answer as it should."""

    code = "call_failed"
    remedy = "Look whether the address answers from outside; what can be tried again is."

    def __init__(
        self, reason: str, *, answered: int | None = None, detail: str | None = None
    ) -> None:
        super().__init__(f"The call failed: {reason}.", detail=detail)
        self.reason = reason
        self.answered = answered
