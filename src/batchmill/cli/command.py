"""Commands whose options are the fields of a dataclass, and what errors mean on the command line.

@dataclass(frozen=True, slots=True)
class Options:
    name: Annotated[str, typer.Argument(help="…")]

command(app, "greet", Options)(greet)       greet(options) returns the exit code
"""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar, get_type_hints

import typer

from batchmill.errors.base import BatchmillError

D = TypeVar("D")

ALL_FINE: Final = 0
SOME_FAILED: Final = 1
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141
"""What a shell shows for a program that SIGPIPE has ended."""


def command(app: typer.Typer, name: str, options: type[D]) -> Callable[[Callable[[D], int]], None]:
    """Add a function of `options` to `app` as the command `name`; its docstring is the help."""

    def add(function: Callable[[D], int]) -> None:
        def call(**given: Any) -> None:  # noqa: ANN401 - what typer has parsed
            raise typer.Exit(guarded(lambda: function(options(**given))))

        call.__doc__ = function.__doc__
        call.__signature__ = _signature(options)  # type: ignore[attr-defined]
        app.command(name)(call)

    return add


def default(app: typer.Typer, options: type[D]) -> Callable[[Callable[[D], int]], None]:
    """Let a group do `function` when none of its commands is named."""

    def add(function: Callable[[D], int]) -> None:
        def call(context: typer.Context, **given: Any) -> None:  # noqa: ANN401 - the same
            if context.invoked_subcommand is None:
                raise typer.Exit(guarded(lambda: function(options(**given))))

        own = inspect.Parameter(
            "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
        )
        signature = _signature(options)
        parameters = [own, *signature.parameters.values()]
        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        app.callback(invoke_without_command=True)(call)

    return add


def guarded(function: Callable[[], int]) -> int:
    """Run a command; errors become one sentence with its remedy on stderr and an exit code."""
    try:
        return function()
    except BatchmillError as error:
        return failed(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # as in `batchmill report … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        return NOBODY_READS
    except Exception as error:  # the border: a user is never shown a traceback
        if debugging():
            raise
        sentence = f"An unexpected error happened ({type(error).__name__})."
        return _say(sentence, "Set BATCHMILL_LOG_LEVEL=debug to see it, and report it.", 1)


def failed(error: BatchmillError) -> int:
    """Print an error for people and return its exit code."""
    if debugging():
        raise error
    return _say(error.message, error.remedy, error.exit_code)


def debugging() -> bool:
    """Tell whether the user asked for details."""
    return os.environ.get("BATCHMILL_LOG_LEVEL", "").lower() == "debug"


def _say(sentence: str, remedy: str, exit_code: int) -> int:
    print(f"batchmill: {sentence}\n{remedy}", file=sys.stderr)
    return exit_code


def _signature(options: type[Any]) -> inspect.Signature:
    hints = get_type_hints(options, include_extras=True)
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default(field),
                annotation=hints[field.name],
            )
            for field in dataclasses.fields(options)
        ]
    )


def _default(field: "dataclasses.Field[Any]") -> object:
    missing = field.default is dataclasses.MISSING
    return inspect.Parameter.empty if missing else field.default
