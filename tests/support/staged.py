"""Files of this machine as the inputs of attempts."""

from pathlib import Path

from batchmill.attempt.staging import InputFile, link_or_copy
from batchmill.errors.item import InputLostError


def local_file(path: Path, name: str | None = None) -> InputFile:
    """Return a file as an input: a hard link where possible, else a copy."""

    async def stage(target: Path) -> None:
        try:
            link_or_copy(path, target)
        except FileNotFoundError as error:
            raise InputLostError(name or path.name) from error

    return InputFile(name or path.name, stage)
