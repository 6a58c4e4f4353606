"""What callers must change: wrong requests, wrong command lines, wrong settings."""

from difflib import get_close_matches

from batchmill.errors.amounts import count, size, span
from batchmill.errors.base import BatchmillError


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


class ModelKeyMissingError(RequestError):
    """A pipeline asks a vision model, and none is set up here."""

    code = "model_key_missing"
    remedy = "Set the key as the message says, or choose `provider: local`."

    def __init__(self) -> None:
        super().__init__(
            "describe asks a vision model, and no key for one is set: set BATCHMILL_LLM_API_KEY (or"
            " OPENAI_API_KEY) where batchmill runs, or BATCHMILL_LLM_BASE_URL for a server that"
            " needs none. With the option provider=local nobody is asked."
        )


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


def over_size(what: str, limit_bytes: int, setting: str) -> TooLargeError:
    """Return the error of something with more bytes than `setting` allows."""
    return TooLargeError(
        f"{what} is larger than the limit of {size(limit_bytes)}; make it smaller, or raise"
        f" {setting}."
    )


class TooManyFilesError(TooLargeError):
    """A request has more files than one may have."""

    code = "too_many_files"
    remedy = "Send the others in further requests, or all of them in one ZIP archive."

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request has more than {limit} files; "
            "send the others in further requests, or all of them in one ZIP archive."
        )


class WrongFileCountError(RequestError):
    """A request of a reference dialect has no file, or more than its document allows."""

    code = "wrong_file_count"
    status = 400
    remedy = "Send as many files as the message says."

    def __init__(self, most: int) -> None:
        wanted = "exactly 1 file" if most == 1 else f"1 to {most} files"
        super().__init__(f"Send {wanted} in one request.")


class WrongFileTypeError(RequestError):
    """A file is of a type that this address does not take; its content says so."""

    code = "wrong_file_type"
    status = 415
    remedy = "Send files of the types in the message; the content decides, not the name."

    def __init__(self, name: str, found: str, wanted: str) -> None:
        super().__init__(f"{name} is {found}; this address takes {wanted}.")


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

    def __init__(self, name: str, *, left_out: int, wanted: str | None = None) -> None:
        others = f"{left_out} folders, links and system files were left out"
        if wanted is not None:
            others = f"none of its {left_out} files is one of the {wanted} that the pipeline takes"
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
    remedy = "Wait as long as Retry-After says, or do what the message names."

    def __init__(self, limit: int, window_s: float, *, retry_after_s: int, advice: str) -> None:
        most, window = count(limit, "submission"), span(window_s)
        super().__init__(
            f"No more than {most} in {window}; try again in {span(retry_after_s)}. {advice}"
        )
        self.limit = limit
        self.retry_after_s = retry_after_s


class QueueFullError(RequestError):
    """More files are waiting than callers of this tier may let wait."""

    code = "queue_full"
    status = 503
    remedy = "Send the files again later or with an API key, or raise BATCHMILL_IMAGES_QUEUE_SIZE."

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"No more than {count(limit, 'file')} of callers without a key may wait; try again in a"
            " minute. An API key lifts this limit, and BATCHMILL_IMAGES_QUEUE_SIZE raises it."
        )


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


class AddressRefusedError(RequestError):
    """An address was named that this server does not call."""

    code = "address_refused"
    remedy = "Name an https:// address on the public internet; BATCHMILL_OUTGOING_… allow others."

    def __init__(self, reason: str, where: str = "This address") -> None:
        super().__init__(f"{where} is not called: {reason}.")
        self.reason = reason


class UploadVersionError(RequestError):
    """A request about an upload does not speak our version of the tus protocol."""

    code = "upload_version"
    status = 412
    remedy = "Use a client of tus 1.0, which sends `Tus-Resumable: 1.0.0`."

    def __init__(self) -> None:
        super().__init__("Uploads need the header `Tus-Resumable: 1.0.0`.")


class UploadOffsetError(ConflictError):
    """Bytes of an upload were sent for another place than the end of what has arrived."""

    code = "upload_offset"
    remedy = "Ask with HEAD how much has arrived, and go on from there."

    def __init__(self, arrived_bytes: int) -> None:
        super().__init__(f"{arrived_bytes} bytes have arrived; go on from there.")


class UploadUnfinishedError(ConflictError):
    """An upload was to be used before all of it had arrived."""

    code = "upload_unfinished"
    remedy = "Send the rest of the upload, then use it."

    def __init__(self, name: str, arrived_bytes: int, length_bytes: int) -> None:
        super().__init__(f"Of {name} {arrived_bytes} of {length_bytes} bytes have arrived.")


class UploadSizeError(ConflictError):
    """What lies in the bucket for an upload is not as long as its sender said."""

    code = "upload_size"
    remedy = "Put a file of exactly the size that was declared, or begin another upload."

    def __init__(self, name: str, found_bytes: int, length_bytes: int) -> None:
        super().__init__(f"{name} has {found_bytes} bytes in the bucket, not {length_bytes}.")


class NoDirectUploadsError(ConflictError):
    """The server keeps its files where clients can't put any themselves."""

    code = "no_direct_uploads"
    remedy = "Send the file through the server by tus, `POST /v1/uploads` with `Upload-Length`."

    def __init__(self) -> None:
        super().__init__(
            "The server's storage is no S3 bucket with keys to sign addresses with; send the file"
            " by tus: `POST /v1/uploads` with `Upload-Length`."
        )


class UploadBusyError(RequestError):
    """Another request is sending bytes of this upload."""

    code = "upload_busy"
    status = 423
    remedy = "Wait until the other request has ended, then ask with HEAD how much has arrived."

    def __init__(self) -> None:
        super().__init__("Another request is sending bytes of this upload.")


class ChecksumError(RequestError):
    """Bytes of an upload do not add up to the checksum that came with them."""

    code = "checksum_mismatch"
    status = 460
    remedy = "Send the same bytes again; none of them was kept."

    def __init__(self) -> None:
        super().__init__("The bytes do not match Upload-Checksum; send them again.")


class TooManyUploadsError(RequestError):
    """The caller has as many open uploads, or bytes in them, as its tier may have."""

    code = "too_many_uploads"
    status = 429
    remedy = "Use the finished uploads in a batch, or remove some with DELETE."

    def __init__(self, limit: int, limit_bytes: int) -> None:
        super().__init__(
            f"No more than {count(limit, 'upload')}, together of {size(limit_bytes)}, may wait for"
            " a batch to take them."
        )


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


class WrongStoreError(UsageError):
    """A storage and the database do not belong together, as the marks in them say."""

    code = "wrong_store"
    remedy = "Nothing was removed. docs/how-to/operate.md says more."

    def __init__(self, fact: str, advice: str) -> None:
        super().__init__(f"{fact} {advice}")
        self.fact = fact


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(sorted(known))}."
