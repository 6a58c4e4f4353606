"""`batchmill run`: files through a pipeline on this machine, without a server or a database."""

from batchmill.cli.run.options import RunOptions


def run(options: RunOptions) -> int:
    """Put files through a pipeline on this machine, without a server.

    [bold]Examples[/bold]

    Shrink a folder of photos for the web, keeping its tree:

        batchmill run web photos/ -o small/

    The same for every JPEG of an archive, as AVIF, on half of the cores:

        batchmill run web photos.zip -o small/ -f avif -j 50%

    A long run that may be stopped and goes on where it was:

        batchmill run web photos/ -o small/ --joblog run.jsonl

        batchmill run web photos/ -o small/ --joblog run.jsonl --resume

    What documents hold, as one JSON line each:

        find . -name '*.pdf' | batchmill run analyze - --json > facts.jsonl

    [bold]Exit status[/bold]

    0 all fine, 1 some files failed, 2 wrong usage, 130 interrupted.
    """
    from batchmill.cli.run.execute import execute

    return execute(options)
