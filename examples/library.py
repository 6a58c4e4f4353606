"""Shrinks the files that are named, in this process, and says how it goes.

python examples/library.py OUT FILE…
"""

import sys

from batchmill import Progress, process_batch_sync


def main() -> int:
    """Process the files; return 1 when one of them failed."""
    out, *files = sys.argv[1:]
    result = process_batch_sync(files, "web", retries=1, on_progress=show, output_dir=out)
    for item in result.items:
        if item.error is not None:
            print(f"{item.source.name}: {item.error.message}", file=sys.stderr)
    return 1 if result.failed else 0


def show(progress: Progress) -> None:
    """Print a line for every file that has ended."""
    left = f", about {progress.eta_s:.0f} s left" if progress.pending else ""
    print(f"{progress.completed}/{progress.total}  {progress.current}{left}")


if __name__ == "__main__":
    sys.exit(main())
