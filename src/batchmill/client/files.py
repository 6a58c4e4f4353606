"""Files and pipelines on their way to a server: looked at, and cut into requests."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from batchmill.client.endpoints import FileUpload
from batchmill.errors.item import InputMissingError
from batchmill.model.pipeline import Pipeline

FILES_PER_REQUEST = 50
"""What every server takes in one request unless its owner has lowered it."""
BYTES_PER_REQUEST = 256 * 2**20
"""A request that breaks off is sent again from its start: it should not be too long."""

File = str | Path | FileUpload
PipelineLike = str | Mapping[str, Any] | Pipeline


def uploads(files: Iterable[File]) -> list[FileUpload]:
    """Look at the files that are to be sent.

    Raises:
        InputMissingError: one is not there.
    """
    return [_upload(file) for file in files]


def chunks(files: Iterable[FileUpload]) -> Iterator[list[FileUpload]]:
    """Cut the files into what one request carries; a larger file goes alone."""
    chunk: list[FileUpload] = []
    size = 0
    for upload in files:
        full = len(chunk) == FILES_PER_REQUEST or size + upload.bytes > BYTES_PER_REQUEST
        if chunk and full:
            yield chunk
            chunk, size = [], 0
        chunk.append(upload)
        size += upload.bytes
    if chunk:
        yield chunk


def description(pipeline: PipelineLike) -> str | Mapping[str, Any]:
    """Return what a server reads: a preset's name, or a pipeline as JSON.

    Raises:
        RequestError: the pipeline file is missing or wrong.
    """
    if isinstance(pipeline, Pipeline):
        return pipeline.to_json()
    if isinstance(pipeline, str) and Path(pipeline).suffix in {".toml", ".json"}:
        from batchmill.local.pipelines import resolve

        return resolve(pipeline).to_json()
    return pipeline


def _upload(file: File) -> FileUpload:
    if isinstance(file, FileUpload):
        return file
    path = Path(file)
    try:
        return FileUpload(path, path.name, path.stat().st_size)
    except OSError as error:
        raise InputMissingError(str(path)) from error
