"""The settings of the five dialects; only `api/compat` reads them."""

from pathlib import Path

from pydantic import ByteSize, Field

from batchmill.settings.types import GIB, MIB, Group, Names


class SequentialSettings(Group):
    """`/api/sequential-batch`: one file of a batch at a time."""

    files_per_batch: int = Field(50, ge=1, description="Files of one batch")
    file_bytes: ByteSize = Field(ByteSize(100 * MIB), ge=1, description="Largest file")
    batch_timeout_s: float = Field(1_200, gt=0, description="Time limit of a whole batch")
    crashes: int = Field(2, ge=0, description="Times a file is tried again after a crash")


class DocumentsSettings(Group):
    """`/api/batch/upload` and `/api/batch/jobs`: PDF, sheets and CSV."""

    enabled: bool = Field(default=True, description="Whether uploads are accepted")
    files_per_batch: int = Field(50, ge=1, description="Files of one batch")
    file_bytes: ByteSize = Field(ByteSize(50 * MIB), ge=1, description="Largest file")
    concurrency: int = Field(3, ge=1, description="Files processed at once, over all batches")
    retries: int = Field(3, ge=0, description="Retries of transient failures and of crashes")
    timeout_ms: int = Field(1_800_000, ge=1, description="Time limit of a file")
    uploads_per_hour: int = Field(3, ge=1, description="Uploads of an anonymous or free caller")


class PhotosSettings(Group):
    """`/api/batch/upload-zip` and `/api/batch/add-images`: face crops."""

    zip_bytes: ByteSize = Field(ByteSize(5 * GIB), ge=1, description="Largest ZIP archive")
    retries: int = Field(2, ge=0, description="Retries of transient failures")
    crop_px: int = Field(300, ge=16, le=4_096, description="Side of the square crop")
    padding_pct: int = Field(20, ge=0, le=200, description="Room around the face")
    options: Names = Field(
        (), description="Further options of face_crop, as in `detect_px=512,no_face=fail`"
    )
    output_dir: Path | None = Field(None, description="Folder that also gets every crop, by batch")


class ImagesSettings(Group):
    """`/api/process`, `/api/job`, `/api/images`: resize and convert."""

    concurrency: int = Field(3, ge=1, description="Images processed at once, over all batches")
    timeout_ms: int = Field(30_000, ge=1, description="Time limit of an image")
    retries: int = Field(3, ge=0, description="Retries of transient failures and timeouts")
    queue_size: int = Field(100, ge=1, description="Waiting images of anonymous callers")
    file_bytes: ByteSize = Field(ByteSize(50 * MIB), ge=1, description="Largest file")
    width_px: int = Field(1_024, ge=1, le=30_000, description="Width of the box to fit into")
    height_px: int = Field(1_024, ge=1, le=30_000, description="Height of the box to fit into")
    quality: int = Field(80, ge=1, le=100, description="Quality of the encoder")
    formats: Names = Field(("jpeg", "png", "webp", "gif"), description="Formats accepted")
    rate_window_ms: int = Field(900_000, ge=1_000, description="Window of the rate limit")
    rate_requests: int = Field(100, ge=1, description="Submissions per address and window")
