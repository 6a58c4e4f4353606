"""The contract of an operation: one thing that can be done to a file.

To add one, write a module with an `OPERATION` and name it in `operations/registry.py`, or, in
your own package, under the entry-point group `batchmill.operations`. It must pass
`tests/operations/test_operation_contract.py`. The API, the CLI's flags, the web form and the
reference page are made from what is declared here.

A `Transform` is a plain function that runs in a sandboxed child process. It gets a `Work` and
returns a new one. Pictures are lazy: an operation transforms `Picture.image` (a libvips
pipeline) and never decodes or encodes, so a chain of operations costs one decode and one
encode. Operations that make other files write them into `work.folder`.

A `RemoteCall` is a coroutine that runs in the worker, which has the network and the secrets.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from batchmill.model.item import SkipReason
from batchmill.model.limits import Limits
from batchmill.model.media import Family
from batchmill.model.pipeline import Step
from batchmill.operations.picture import Picture, Source

__all__ = [
    "Copy",
    "ExtraFile",
    "Operation",
    "Options",
    "Picture",
    "RemoteCall",
    "Source",
    "Transform",
    "Work",
    "each_picture",
    "needs_nothing",
    "no_progress",
]


class Options(BaseModel):
    """Options of an operation: every field has a description, a default and a range."""

    model_config = ConfigDict(extra="forbid", frozen=True)


O = TypeVar("O", bound=Options)


@dataclass(frozen=True, slots=True)
class Copy(Source):
    """What a remote call may see of a file: the copy that its own transforms made.

    `name` is still the file's label; `data` is what those transforms have noted.
    """

    width: int | None = None
    height: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExtraFile:
    """A finished file in `Work.folder` that is delivered beside the pictures."""

    path: Path
    name: str
    media_type: str


def no_progress(fraction: float) -> None:
    """Ignore progress (0…1)."""


@dataclass(frozen=True, slots=True)
class Work:
    """One file between two steps.

    `pictures` starts with the decoded source for image files and is empty for all others;
    an operation may replace one picture by several, or by none.
    """

    source: Source
    folder: Path
    limits: Limits = field(default_factory=Limits)
    tolerant: bool = False
    pictures: tuple[Picture, ...] = ()
    files: tuple[ExtraFile, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: SkipReason | None = None
    report_progress: Callable[[float], None] = no_progress

    def with_data(self, **more: Any) -> "Work":  # noqa: ANN401 - the JSON border
        """Return the same work with `more` merged into its data."""
        return replace(self, data={**self.data, **more})

    def with_warning(self, sentence: str) -> "Work":
        """Return the same work with one more warning for the user."""
        return replace(self, warnings=(*self.warnings, sentence))


@dataclass(frozen=True, slots=True)
class Transform(Generic[O]):
    """A step that runs in a child. `run` is pure: same work and options, same bytes."""

    name: str
    summary: str
    version: int
    accepts: frozenset[Family]
    options: type[O]
    run: Callable[[Work, O], Work]


def needs_nothing(_options: Options) -> None:
    """Say that a call needs no client."""


@dataclass(frozen=True, slots=True)
class RemoteCall(Generic[O]):
    """A step that asks another server. Its call may be cancelled at any await.

    The call never sees a client's bytes: `prepare` names the transforms that make, in a child,
    the one copy that is sent (small, and without metadata). `call(copy, options, clients)`
    returns what is added to the item's data. `needs` names the client without which it can't
    be made, so that a batch is refused before anything is done for it.
    """

    name: str
    summary: str
    version: int
    accepts: frozenset[Family]
    options: type[O]
    prepare: Callable[[O], tuple[Step, ...]]
    call: Callable[[Copy, O, Any], Awaitable[Mapping[str, Any]]]
    needs: Callable[[O], str | None] = needs_nothing


Operation = Transform[Any] | RemoteCall[Any]


def each_picture(function: Callable[[Picture, O], Picture]) -> Callable[[Work, O], Work]:
    """Lift a function of one picture to the whole work."""

    def run(work: Work, options: O) -> Work:
        return replace(work, pictures=tuple(function(each, options) for each in work.pictures))

    return run
