"""Where the program begins: starts what a command will surely need, then loads the commands."""

import gc
import os
import sys

COLLECT_AFTER = 50_000
"""Objects made between two looks at the young ones: what is imported stays, and is not garbage."""
_WITHOUT_FILES = frozenset({"-h", "--help", "-n", "--dry-run", "--no-worker"})
"""With one of these a command that works on files does not."""


def main() -> None:
    """Run the command line, and leave without the clean-up of a process that is about to end."""
    arguments = sys.argv[1:]
    if arguments[:1] not in (["serve"], ["worker"]):  # these stay
        gc.set_threshold(COLLECT_AFTER, 20, 20)
    if arguments[:1] in (["run"], ["serve"], ["worker"]) and _WITHOUT_FILES.isdisjoint(arguments):
        from batchmill.sandbox import spawning

        spawning.start_ahead()
    from batchmill.cli import main as commands

    try:
        commands.main()
    except SystemExit as end:
        _leave(end)


def _leave(end: SystemExit) -> None:
    """End with what a command said; threads and child processes have ended with the command."""
    if not isinstance(end.code, int):
        raise end
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # None: it was closed before this process began
                stream.flush()
    except (OSError, ValueError):
        raise end from None
    os._exit(end.code)


if __name__ == "__main__":
    main()
