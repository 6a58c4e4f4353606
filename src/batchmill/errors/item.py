"""What can go wrong with one file while the rest of its batch goes on."""

from collections.abc import Iterator
from functools import cache
from typing import ClassVar, Literal

from batchmill.errors.amounts import size
from batchmill.errors.base import BatchmillError
from batchmill.errors.outage import OutageError

Budget = Literal["errors", "crashes", "timeouts"]
"""Which retry budget of an item an error uses up."""


class ItemError(BatchmillError):
    """One file could not be processed; the rest of the batch goes on."""

    code = "item_failed"
    budget: ClassVar[Budget] = "errors"
    remedy = "Read the message; correct the file and retry it."
    step: str | None = None
    """Id of the step that failed, where that is known."""
    keeps_original = False
    """Whether `on_error` of the step that failed asks for the original."""


class UnreadableFileError(ItemError):
    """The bytes are damaged, truncated or not what their header claims."""

    code = "unreadable_file"
    remedy = "Open the file elsewhere and save it again, or set the pipeline's `tolerant`."

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
    remedy = "Send the file by itself, or raise `entry_bytes` or `archive_ratio` of the tier."


class UnsupportedTypeError(ItemError):
    """The content is of a type that the pipeline does not take."""

    code = "unsupported_type"
    remedy = "Convert the file to a supported type, or choose another pipeline."


class TooManyPixelsError(ItemError):
    """The picture is over the limit of pixels, side or frames."""

    code = "too_many_pixels"
    remedy = "Shrink it first, or raise `pixels`, `side_px` or `frames_pixels` of the tier."


class UnsafeFileError(ItemError):
    """The document is built to harm its reader, or looks as if it were."""

    code = "unsafe_file"
    remedy = "Save the document again in the program that made it, and send that copy."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} was refused: {reason}; save it again and send that")


class MisnamedFileError(ItemError):
    """The name promises a document, but the content is something else."""

    code = "misnamed_file"
    remedy = "Look into the file: a download or export probably saved a message in its place."

    def __init__(self, name: str, content: str) -> None:
        super().__init__(
            f"{name} is not what its name says: it holds {content}; send the real file"
        )


class DocumentTooLargeError(ItemError):
    """A line, row or sheet of a document is over its limit."""

    code = "document_too_large"
    remedy = "Split it, or raise `sheet_rows`, `sheet_columns` or `csv_line_bytes` of the tier."

    def __init__(self, name: str, part: str) -> None:
        super().__init__(f"{name} has {part}; split it or raise the limit")


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
        super().__init__(f"{name} needed more than {size(limit_bytes)} of memory")


class ChildCrashedError(ItemError):
    """The process that worked on the file died."""

    code = "child_crashed"
    retryable = True
    budget = "crashes"
    remedy = "Retry once; a file that crashes twice is quarantined. Report it with the file."

    def __init__(self, name: str, how: str, *, detail: str | None = None) -> None:
        super().__init__(f"the process working on {name} died ({how})", detail=detail)


class WorkerLostError(ItemError):
    """Workers were lost again and again while they worked on the file alone."""

    code = "worker_lost"
    budget = "crashes"
    remedy = "Look at the workers' logs and memory; retry the file once they run on."

    def __init__(self, name: str, times: int) -> None:
        super().__init__(f"{times} workers were lost while they worked on {name}")


class AttemptTimeoutError(ItemError):
    """The attempt ran past its time limit and was killed."""

    code = "attempt_timeout"
    retryable = True
    budget = "timeouts"
    remedy = "Raise the step's `timeout_s`, or make the file smaller."

    def __init__(self, name: str, limit_s: float) -> None:
        super().__init__(f"{name} took longer than {limit_s:g} s and was stopped")
        self.limit_s = limit_s


class BatchTimeoutError(ItemError):
    """The time limit of the batch was over while the file was being worked on."""

    code = "batch_timeout"
    budget = "timeouts"
    remedy = "Send fewer files in one batch, or raise BATCHMILL_SEQUENTIAL_BATCH_TIMEOUT_S."

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} was stopped: the time limit of its batch was over; send fewer files at once"
        )


class OperationFailedError(ItemError):
    """An operation failed in a way it did not foresee."""

    code = "operation_failed"
    remedy = "Retry once; if it fails again, report it with the file."

    def __init__(self, name: str, operation: str, *, detail: str | None = None) -> None:
        super().__init__(f"{operation} could not process {name}", detail=detail)


class ResultUnstorableError(ItemError):
    """The database refuses what an attempt found out about a file."""

    code = "result_unstorable"
    remedy = "Report it with the file; another pipeline may do what you need meanwhile."

    def __init__(self, name: str) -> None:
        super().__init__(f"what was found out about {name} can't be kept in the database")


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


class ModelRejectedError(ItemError):
    """The server of the vision model does not take the question."""

    code = "model_rejected"
    remedy = (
        "Read what its server says; BATCHMILL_LLM_MODEL may name a model that sees no pictures."
    )

    def __init__(self, name: str, status: int, reason: str, *, detail: str | None = None) -> None:
        said = f": {reason}" if reason else ""
        super().__init__(
            f"the model's server refused the question about {name} (HTTP {status}){said}",
            detail=detail,
        )


class ModelKeyRefusedError(ItemError):
    """The server of the vision model does not accept the key."""

    code = "model_key_refused"
    holds_up = "the model's server does not accept the key"
    remedy = "Correct BATCHMILL_LLM_API_KEY and restart: what waits goes on. Retry what failed."

    def __init__(self, status: int, *, detail: str | None = None) -> None:
        super().__init__(
            f"the model's server does not accept the key that is set (HTTP {status})", detail=detail
        )


class ModelQuotaError(ItemError):
    """The account at the model's server has nothing left to spend."""

    code = "model_quota"
    holds_up = "the account at the model's provider has no credit left"
    remedy = "Add credit at the model's provider: what waits goes on. Retry what failed."

    def __init__(self, *, detail: str | None = None) -> None:
        super().__init__(
            "the account at the model's provider has no credit left; add some and retry",
            detail=detail,
        )


class ModelRefusalError(ItemError):
    """The model answered that it will not describe this picture."""

    code = "model_refusal"
    remedy = "Describe this picture by hand, or ask another model."

    def __init__(self, name: str, reason: str) -> None:
        said = f": {reason}" if reason else ""
        super().__init__(f"the model will not describe {name}{said}")


class ModelAnswerError(ItemError):
    """The model's answer can't be used; it was asked twice."""

    code = "model_answer"
    remedy = "Retry the file; if it happens often, choose a model that keeps to a JSON Schema."

    def __init__(self, name: str, flaw: str) -> None:
        super().__init__(f"the model's answer about {name} can't be used: {flaw}")


class BudgetUsedUpError(ItemError):
    """The next call to the model could cost more than is left of a budget."""

    code = "budget_used_up"
    remedy = "Raise the budget that the message names, then retry what failed."

    def __init__(self, which: str, cap_usd: float) -> None:
        super().__init__(
            f"the budget of {which}, {cap_usd:.6g} US dollars, is spent or set aside for files"
            " that are being described"
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


class InputUnfetchedError(ItemError):
    """The file was to be fetched from an address, and could not be."""

    code = "input_unfetched"
    remedy = "Correct the address or its server, then send it again in a new batch."

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} could not be fetched: {reason}; send it again")


class FileTooLargeError(ItemError):
    """The file is larger than a file of the caller's tier may be; its bytes were not kept."""

    code = "file_too_large"
    remedy = "Make it smaller, or raise the setting of the tier, or of the dialect that took it."

    def __init__(self, name: str, limit_bytes: int) -> None:
        super().__init__(
            f"{name} is larger than the limit of {size(limit_bytes)}; make it smaller, or raise"
            " `file_bytes` (of an archive `zip_bytes`)"
        )


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


class ProcessingError(ItemError):
    """A file failed, and the program asked for an exception; `code` is that of its failure."""

    code = "processing_failed"
    remedy = "Look up the exception's own `code` in this list."

    def __init__(self, message: str, *, code: str, retryable: bool, step: str | None) -> None:
        super().__init__(message)
        self.code, self.retryable, self.step = code, retryable, step
        self.remedy = remedy_of(code)


@cache
def remedy_of(code: str) -> str:
    """Return what helps an item that failed with `code`; codes of others get the general advice."""
    kinds = (kind for family in (ItemError, OutageError) for kind in _tree(family))
    return next((kind.remedy for kind in kinds if kind.code == code), ItemError.remedy)


def _tree(family: type[BatchmillError]) -> Iterator[type[BatchmillError]]:
    yield family
    for kind in family.__subclasses__():
        yield from _tree(kind)
