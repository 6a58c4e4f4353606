"""Every error the product raises on purpose; `docs/reference/errors.md` is made from this file.

    BatchmillError
    ├── RequestError      the caller must change the request      HTTP 4xx   exit 2   never retried
    │   ├── UnknownNameError, InvalidPipelineError, InvalidOptionError, EmptyBatchError …
    │   └── NotFoundError, ConflictError, TooLargeError, ForbiddenError, RangeError …
    ├── ItemError         one file failed, the batch goes on      kept on the item
    │   ├── permanent     UnreadableFileError, UnsupportedTypeError, TooManyPixelsError …
    │   └── transient     ChildCrashedError, AttemptTimeoutError, OutOfMemoryError …
    └── OutageError       a dependency is away                    HTTP 503   exit 3   retried
        └── StorageFullError, RunnerUnavailableError, ServerUnreachableError …

The message is public: it says what is wrong with which file or field and what to do. `detail`
is private: it goes to the log and never to a client.
"""

from difflib import get_close_matches
from typing import ClassVar, Literal

Budget = Literal["errors", "crashes", "timeouts"]
"""Which retry budget of an item an error uses up."""


class BatchmillError(Exception):
    """Base of every error here. `code` is public, stable and unique."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    remedy: ClassVar[str] = "Look at the server's log; if it happens again, report it."

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


# ---------------------------------------------------------------- requests


class RequestError(BatchmillError):
    """The request is wrong; sending it again will fail again."""

    code = "invalid_request"
    status = 422
    exit_code = 2
    remedy = "Change the request as the message says."


class UnknownNameError(RequestError):
    """A pipeline, preset, operation or key that does not exist was named."""

    code = "unknown_name"
    remedy = "Use one of the names in the message, or list them with `batchmill presets`."

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"There is no {kind} {name!r}. {_nearest(name, known)}")


class InvalidPipelineError(RequestError):
    """A pipeline's JSON or TOML does not have the right shape."""

    code = "invalid_pipeline"
    remedy = "Correct the field that the message names; docs/concepts/pipelines.md shows the shape."


class UnknownFieldError(InvalidPipelineError):
    """A field that does not exist was given."""

    code = "unknown_field"
    remedy = "Remove the field or spell it as the message suggests."

    def __init__(self, where: str, name: str, known: list[str]) -> None:
        super().__init__(f"{where} has no field {name!r}. {_nearest(name, known)}")


class InvalidOptionError(RequestError):
    """An option of an operation is unknown or out of range."""

    code = "invalid_option"
    remedy = "Correct the option; `batchmill operations NAME` lists every option with its range."


class EmptyBatchError(RequestError):
    """A batch without files was sent."""

    code = "empty_batch"
    remedy = "Send at least one file, or `keep_open: true` to add files later."

    def __init__(self) -> None:
        super().__init__("The batch has no files; send at least one.")


class NotFoundError(RequestError):
    """The object does not exist, or belongs to somebody else."""

    code = "not_found"
    status = 404
    remedy = "Check the id; finished batches are removed after their retention time."

    def __init__(self, kind: str, id_: str) -> None:
        super().__init__(f"There is no {kind} {id_!r}.")


class ConflictError(RequestError):
    """The object is not in a state that allows this."""

    code = "conflict"
    status = 409
    remedy = "Read the object's status and try what that status allows."


class TooLargeError(RequestError):
    """A file or a request is over a limit of size or number."""

    code = "too_large"
    status = 413
    remedy = "Send fewer or smaller files, or raise the limit named in the message."


class MalformedUploadError(RequestError):
    """The body of an upload is not what its header claims, or it broke off."""

    code = "malformed_upload"
    status = 400
    remedy = "Send the files as multipart/form-data with a standard HTTP client, and whole."


class UnreadableArchiveError(RequestError):
    """A ZIP archive is damaged, or built in a way that only harmful ones are."""

    code = "unreadable_archive"
    remedy = "Pack the files into a new ZIP archive and send it whole."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be used as a ZIP archive: {reason}; pack it again.")


class EmptyArchiveError(RequestError):
    """A ZIP archive has no file that could be processed."""

    code = "empty_archive"
    remedy = "Send an archive with at least one file besides folders and system files."

    def __init__(self, name: str, *, left_out: int) -> None:
        others = f"{left_out} folders, links and system files were left out"
        super().__init__(f"{name} holds no file to process ({others}).")


class MalformedRequestError(RequestError):
    """The request's body or headers can't be read."""

    code = "malformed_request"
    status = 400
    remedy = "Send well-formed JSON in UTF-8, as the message says."


class InvalidFieldError(RequestError):
    """A field of a request is missing, unknown or out of range."""

    code = "invalid_field"
    remedy = "Correct the field that the message names; /docs lists every field with its range."


class UnauthenticatedError(RequestError):
    """The server does not serve callers without a key here."""

    code = "unauthenticated"
    status = 401
    remedy = "Send an API key, or set BATCHMILL_ANONYMOUS to serve callers without one."


class RateLimitedError(RequestError):
    """The caller has submitted as often as it may within a window of time."""

    code = "rate_limited"
    status = 429
    remedy = "Wait as long as Retry-After says; keys of a higher tier may submit more often."

    def __init__(self, limit: int, window_s: float, *, retry_after_s: int) -> None:
        minutes = round(window_s / 60)
        super().__init__(
            f"No more than {limit} submissions in {minutes} minutes; try again in"
            f" {retry_after_s} seconds."
        )
        self.retry_after_s = retry_after_s


class ForbiddenError(RequestError):
    """The caller, or the page that made it call, may not do this."""

    code = "forbidden"
    status = 403
    remedy = "Call from an allowed page or address; BATCHMILL_PUBLIC_URL names the server's own."


class UnknownPathError(RequestError):
    """The server has nothing at this address."""

    code = "unknown_path"
    status = 404
    remedy = "Check the address; /docs lists every one."


class WrongMethodError(RequestError):
    """The address does not take this method."""

    code = "wrong_method"
    status = 405
    remedy = "Use a method that the answer's Allow header names."


class BodyTimeoutError(RequestError):
    """The request's body stopped arriving."""

    code = "body_timeout"
    status = 408
    remedy = "Send again over a better connection, or raise BATCHMILL_BODY_TIMEOUT_S."


class WrongMediaTypeError(RequestError):
    """The request's body is of a type that is not taken here."""

    code = "wrong_media_type"
    status = 415
    remedy = "Send application/json, or files as multipart/form-data."


class RangeError(RequestError):
    """The requested range lies behind the end of the file."""

    code = "range_not_satisfiable"
    status = 416
    remedy = "Ask for a range within the size that Content-Range names."


class InputUnavailableError(RequestError):
    """A file was to be taken from a place that this server cannot read."""

    code = "input_unavailable"
    remedy = "Send the bytes themselves: as multipart `files`, or as `data` in base 64."


class IdempotencyMismatchError(RequestError):
    """An Idempotency-Key came back with another body."""

    code = "idempotency_mismatch"
    remedy = "Use a new Idempotency-Key for a new request."

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another request body.")


class IdempotencyInFlightError(ConflictError):
    """The first request with this Idempotency-Key is still running."""

    code = "idempotency_in_flight"
    remedy = "Wait for the first request's answer, then repeat."

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is still being answered.")


class UsageError(RequestError):
    """The command line or a setting makes no sense."""

    code = "usage"
    remedy = "See `batchmill COMMAND --help`."


# ---------------------------------------------------------------- items


class ItemError(BatchmillError):
    """One file could not be processed; the rest of the batch goes on."""

    code = "item_failed"
    budget: ClassVar[Budget] = "errors"
    remedy = "Read the message; correct the file and retry it."
    step: str | None = None
    """Id of the step that failed, where that is known."""


class UnreadableFileError(ItemError):
    """The bytes are damaged, truncated or not what their header claims."""

    code = "unreadable_file"
    remedy = "Open the file elsewhere and save it again, or set `tolerant` to accept what is there."

    def __init__(self, name: str, reason: str, *, detail: str | None = None) -> None:
        super().__init__(f"{name} cannot be read: {reason}", detail=detail)


class EmptyFileError(ItemError):
    """The file has no bytes."""

    code = "empty_file"
    remedy = "Send the file again; an upload or copy probably broke off."

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is empty (0 bytes); send it again")


class EncryptedFileError(ItemError):
    """The file can only be opened with a password."""

    code = "encrypted_file"
    remedy = "Remove the password and send the file again."

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is encrypted; remove the password and send it again")


class UnpacksTooLargeError(ItemError):
    """An entry of an archive is too large once it is unpacked."""

    code = "unpacks_too_large"
    remedy = "Send the file by itself, or raise the limit named in the message."


class UnsupportedTypeError(ItemError):
    """The content is of a type that the pipeline does not take."""

    code = "unsupported_type"
    remedy = "Convert the file to a supported type, or choose another pipeline."


class TooManyPixelsError(ItemError):
    """The picture is over the limit of pixels, side or frames."""

    code = "too_many_pixels"
    remedy = "Shrink the picture before sending it, or raise the limit named in the message."


class UnsafeFileError(ItemError):
    """The document is built to harm its reader, or looks as if it were."""

    code = "unsafe_file"
    remedy = "Save the document again in the program that made it, and send that copy."


class DocumentTooLargeError(ItemError):
    """A line, row or sheet of a document is over its limit."""

    code = "document_too_large"
    remedy = "Split the document, or raise the limit named in the message."


class MaxBytesError(ItemError):
    """A picture can't be made as small as `max_bytes` asks."""

    code = "max_bytes"
    remedy = "Allow more bytes, resize the picture first, or choose another format."


class OutOfMemoryError(ItemError):
    """The attempt ran into its memory limit."""

    code = "out_of_memory"
    retryable = True
    budget = "crashes"
    remedy = "Send a smaller file, or raise the `memory_bytes` of the tier."

    def __init__(self, name: str, limit_bytes: int) -> None:
        super().__init__(f"{name} needed more than {limit_bytes // 2**20} MiB of memory")


class ChildCrashedError(ItemError):
    """The process that worked on the file died."""

    code = "child_crashed"
    retryable = True
    budget = "crashes"
    remedy = "Retry once; a file that crashes twice is quarantined. Report it with the file."

    def __init__(self, name: str, how: str, *, detail: str | None = None) -> None:
        super().__init__(f"the process working on {name} died ({how})", detail=detail)


class AttemptTimeoutError(ItemError):
    """The attempt ran past its time limit and was killed."""

    code = "attempt_timeout"
    retryable = True
    budget = "timeouts"
    remedy = "Raise the step's `timeout_s`, or make the file smaller."

    def __init__(self, name: str, limit_s: float) -> None:
        super().__init__(f"{name} took longer than {limit_s:g} s and was stopped")
        self.limit_s = limit_s


class OperationFailedError(ItemError):
    """An operation failed in a way it did not foresee."""

    code = "operation_failed"
    remedy = "Retry once; if it fails again, report it with the file."

    def __init__(self, name: str, operation: str, *, detail: str | None = None) -> None:
        super().__init__(f"{operation} could not process {name}", detail=detail)


class NoFaceError(ItemError):
    """No face was found, and the pipeline asked to fail then."""

    code = "no_face"
    remedy = "Send a photo that shows a face, lower `min_score`, or set `no_face` to `accept`."

    def __init__(self, name: str) -> None:
        super().__init__(f"no face was found in {name}")


class FaceModelMissingError(ItemError):
    """A part of this installation that finds faces is not there."""

    code = "face_model_missing"
    remedy = "Run the command in the message, then retry the file."

    def __init__(self, missing: str, command: str) -> None:
        super().__init__(
            f"Faces cannot be found because {missing} is not installed; run `{command}`"
        )


class InputLostError(ItemError):
    """The stored input is not there any more."""

    code = "input_lost"
    remedy = "Send the file again."

    def __init__(self, name: str) -> None:
        super().__init__(f"the stored copy of {name} is gone; send it again")


class InputMissingError(ItemError):
    """The file that was named is not there."""

    code = "input_missing"
    remedy = "Check the path; the file may have been moved or renamed meanwhile."

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not there; check the path")


class OutputExistsError(ItemError):
    """A file of the output's name is there already."""

    code = "output_exists"
    remedy = "Use --overwrite, --skip-existing or another folder."

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} exists already and was not overwritten")


class OutputUnwritableError(ItemError):
    """The output can't be written where it belongs."""

    code = "output_unwritable"
    remedy = "Check the permissions of the output folder, or name another one."

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}")


# ---------------------------------------------------------------- outages


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


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(sorted(known))}."
