"""Every error the product raises on purpose; `docs/reference/errors.md` is made from this folder.

    BatchmillError
    ├── RequestError      the caller must change the request      HTTP 4xx   exit 2   never retried
    │   ├── UnknownNameError, InvalidPipelineError, InvalidOptionError, EmptyBatchError …
    │   └── NotFoundError, ConflictError, TooLargeError, ForbiddenError, RangeError …
    ├── ItemError         one file failed, the batch goes on      kept on the item
    │   ├── permanent     UnreadableFileError, UnsupportedTypeError, TooManyPixelsError …
    │   └── transient     ChildCrashedError, AttemptTimeoutError, OutOfMemoryError …
    └── OutageError       a dependency is away                    HTTP 503   exit 3   retried
        └── StorageFullError, RunnerUnavailableError, ServerUnreachableError …

The families and their leaves stand in `request.py`, `item.py` and `outage.py`.
The message is public: it says what is wrong with which file or field and what to do. `detail`
is private: it goes to the log and never to a client.
"""

from typing import ClassVar


class BatchmillError(Exception):
    """Base of every error here. `code` is public, stable and unique."""

    code: str = "internal_error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: bool = False
    remedy: str = "Look at the server's log; if it happens again, report it."
    holds_up: ClassVar[str | None] = None
    """What is away, in words, where all files of a batch need it and wait until it is back."""

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])
