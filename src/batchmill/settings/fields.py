"""Every setting: name, range, default, meaning; `docs/reference/settings.md` is made from this.

`settings/loading.py` says where values come from. To add a setting, add a field with a description
and a range; its unit is the end of its name, and its variable follows from its place: `concurrency`
in `images` is `BATCHMILL_IMAGES_CONCURRENCY`.
"""

import os
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import ByteSize, Field, SecretStr, model_validator

from batchmill.errors.request import UnknownNameError
from batchmill.model.limits import Limits
from batchmill.settings.compat import (
    DocumentsSettings,
    ImagesSettings,
    PhotosSettings,
    SequentialSettings,
)
from batchmill.settings.types import (
    GB,
    GIB,
    MB,
    MIB,
    AbsolutePath,
    Group,
    Names,
    Networks,
    Paths,
    Secrets,
)


class TierLimits(Group):
    """What callers of one tier may ask for; the defaults are those of anonymous and free."""

    file_bytes: ByteSize = Field(ByteSize(50 * MIB), ge=1, description="Largest file")
    zip_bytes: ByteSize = Field(ByteSize(5 * GIB), ge=1, description="Largest ZIP archive")
    batch_bytes: ByteSize = Field(
        ByteSize(5 * GIB), ge=1, description="All files of a batch together"
    )
    files_per_request: int = Field(50, ge=1, le=10_000, description="Files in one request")
    archive_entries: int = Field(20_000, ge=1, description="Entries of an archive")
    entry_bytes: ByteSize = Field(
        ByteSize(200 * MB), ge=1, description="One entry of an archive, unpacked"
    )
    archive_bytes: ByteSize = Field(
        ByteSize(20 * GB), ge=1, description="All entries of an archive, unpacked"
    )
    archive_ratio: int = Field(
        200, ge=1, description="Unpacked bytes per packed byte, after the first 10 MB"
    )
    pixels: int = Field(100_000_000, ge=1, description="Pixels of a picture")
    side_px: int = Field(30_000, ge=1, description="Longest side of a picture")
    frames_pixels: int = Field(200_000_000, ge=1, description="Pixels of all frames together")
    pages: int = Field(500, ge=1, description="Pages of a PDF")
    sheet_rows: int = Field(1_000_000, ge=1, description="Rows of a sheet")
    sheet_columns: int = Field(16_384, ge=1, description="Columns of a sheet")
    csv_line_bytes: ByteSize = Field(ByteSize(MB), ge=1, description="One line of a CSV file")
    memory_bytes: ByteSize = Field(
        ByteSize(2 * GIB), ge=256 * MIB, description="Memory of an attempt"
    )
    cpu_s: float = Field(60, gt=0, description="Processor time of an attempt")
    open_uploads: int = Field(1_000, ge=1, description="Uploads that no batch has taken yet")
    open_uploads_bytes: ByteSize = Field(
        ByteSize(20 * GIB), ge=1, description="Those uploads together, as long as they will be"
    )
    retries_errors: int = Field(5, ge=0, description="Most retries after transient errors")
    retries_crashes: int = Field(1, ge=0, description="Most retries after a crash of the child")
    retries_timeouts: int = Field(3, ge=0, description="Most retries after a time limit")
    submissions_per_minute: int = Field(120, ge=1, description="Submissions of a caller to /v1")
    llm_batch_usd: float | None = Field(
        None, ge=0, description="Most US dollars that a batch may spend at the vision LLM"
    )
    llm_day_usd: float | None = Field(
        None, ge=0, description="Most US dollars that an owner may spend there in 24 hours"
    )

    @property
    def whole_batch_bytes(self) -> int:
        """The most that all files of a batch may have together, however they arrive."""
        return max(self.batch_bytes, self.zip_bytes)

    def attempt(self, *, wall_s: float) -> Limits:
        """Return the bounds of one attempt that may take `wall_s`."""
        names = Limits.__slots__
        same = {name: getattr(self, name) for name in names if name in type(self).model_fields}
        return Limits(**same, unpacked_bytes=self.entry_bytes, wall_s=wall_s)


_RAISED: Final = TierLimits(
    file_bytes=ByteSize(5 * GIB),
    batch_bytes=ByteSize(50 * GIB),
    files_per_request=1_000,
    open_uploads=10_000,
    open_uploads_bytes=ByteSize(200 * GIB),
    archive_entries=1_000_000,
    entry_bytes=ByteSize(GB),
    archive_bytes=ByteSize(100 * GB),
    pixels=250_000_000,
    side_px=65_000,
    frames_pixels=500_000_000,
    pages=5_000,
    memory_bytes=ByteSize(4 * GIB),
    cpu_s=300,
    submissions_per_minute=1_200,
)


class Tiers(Group):
    """The limits of every tier; a key says which tier its holder has."""

    anonymous: TierLimits = TierLimits()
    free: TierLimits = TierLimits()
    test_premium: TierLimits = _RAISED
    premium: TierLimits = _RAISED
    pro: TierLimits = _RAISED
    enterprise: TierLimits = _RAISED


def tier_variable(tier: str, name: str) -> str:
    """Return the environment variable that sets a limit of a tier."""
    return f"BATCHMILL_TIERS_{tier.upper()}_{name.upper()}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Settings(Group):
    """Everything a process needs to know; `Settings()` has the defaults and reads nothing."""

    data_dir: AbsolutePath = Field(
        Path("batchmill-data"), validate_default=True, description="Folder for all that is kept"
    )
    host: str = Field(
        "127.0.0.1", description="Address to listen on; other than loopback needs a key"
    )
    port: int = Field(3001, ge=0, le=65_535, description="Port to listen on; 0 picks a free one")
    public_url: str | None = Field(None, description="Address under which people reach the server")
    database_url: SecretStr | None = Field(None, description="Database; unset: SQLite in data_dir")
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey that tells workers of new work; optional"
    )
    redis_queue: str = Field(
        "batchmill",
        pattern=r"^[\w.-]+$",
        json_schema_extra={"allowed": "letters, digits, `.`, `_` and `-`"},
        description="Its queue; each installation has its own",
    )
    storage_url: str | None = Field(
        None, description="`s3://bucket/prefix` or a folder; unset: a folder in data_dir"
    )
    results_url: str | None = Field(
        None, description="Bucket for results alone, as `s3://bucket/prefix`; unset: all together"
    )
    cdn_url: str | None = Field(
        None, description="Address under which everybody can read the bucket that holds results"
    )
    s3_endpoint: str | None = Field(None, description="Address of a service that speaks S3")
    s3_region: str | None = Field(None, description="Region of the bucket")
    s3_virtual_host: bool = Field(
        default=False, description="Name the bucket in the host instead of the path"
    )
    s3_access_key_id: SecretStr | None = Field(None, description="Access key of the bucket")
    s3_secret_access_key: SecretStr | None = Field(None, description="Secret key of the bucket")
    uploads_dir: AbsolutePath | None = Field(
        None, description="Folder of open uploads, one for all servers; unset: in data_dir"
    )
    children: int = Field(
        default_factory=_cores, ge=1, le=1_024, description="Child processes that work on files"
    )
    remote_slots: int = Field(16, ge=1, le=1_024, description="Calls to other servers at once")
    input_dirs: Paths = Field((), description="Folders whose files may be named by path")
    presets_dir: Path | None = Field(None, description="Folder of your own presets (*.toml)")
    worker_id: str | None = Field(
        None,
        pattern=r"^[\w.-]{1,31}$",
        json_schema_extra={"allowed": "1 to 31 letters, digits, `.`, `_` and `-`"},
        description="What this worker's name begins with, at most 31 characters",
    )
    health_port: int | None = Field(
        None, ge=0, le=65_535, description="Port on which a worker answers probes; unset: none"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lines less grave are not written"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Log lines; auto: JSON off a terminal"
    )

    admin_key: SecretStr | None = Field(None, description="First admin key, made at the start")
    anonymous: Literal["loopback", "on", "off"] = Field(
        "loopback", description="From where callers without a key are served"
    )
    signing_keys: Secrets = Field(
        (), description="Keys of signed URLs: the first signs, each is accepted"
    )
    secret_keys: Secrets = Field(
        (), description="Keys of secrets in the database: the first seals, each one opens"
    )
    signed_url_s: int = Field(900, ge=1, le=604_800, description="How long a signed URL is valid")
    download_redirect: bool = Field(
        default=False, description="Send downloads on to signed addresses of the bucket"
    )
    trusted_proxies: Networks = Field(
        (), description="Proxies whose X-Forwarded-For or Forwarded names the caller"
    )
    cors_origins: Names = Field((), description="Origins of other pages that may call the API")
    json_bytes: ByteSize = Field(ByteSize(MB), ge=1_024, description="Largest JSON body")
    body_timeout_s: float = Field(60, gt=0, description="Longest silence within a request body")
    outgoing_http: bool = Field(
        default=False, description="Let webhooks and inputs go to http:// addresses"
    )
    outgoing_loopback: bool = Field(
        default=False, description="Let webhooks and inputs go to this machine"
    )
    webhook_timeout_s: float = Field(10, gt=0, le=120, description="Time limit of a webhook call")
    url_timeout_s: float = Field(
        60, gt=0, le=3_600, description="Time limit of fetching an input from its address"
    )
    input_prefixes: Names = Field(
        (), description="Folders of the storage whose objects may be named as inputs"
    )

    lease_s: float = Field(12, gt=0, description="How long a worker counts as alive without a word")
    renew_s: float = Field(4, gt=0, description="How often a worker says that it is alive")
    sweep_s: float = Field(2, gt=0, description="How often the sweep looks for lost work")
    leader_s: float = Field(6, gt=0, description="How long one process stays the sweeper")
    drain_s: float = Field(25, ge=0, description="Time to finish running items at shutdown")
    child_items: int = Field(200, ge=1, description="Items after which a child is replaced")
    retention_s: int = Field(604_800, ge=60, description="How long an ended batch is kept")
    cleanup_interval_ms: int = Field(
        60_000, ge=1_000, description="How often expired batches, files and rows are removed"
    )
    idempotency_s: int = Field(86_400, ge=60, description="How long an Idempotency-Key counts")
    upload_expiry_s: int = Field(
        86_400, ge=60, description="How long uploads and open batches wait for more"
    )
    disk_reserve_bytes: ByteSize = Field(ByteSize(GIB), ge=0, description="Disk kept free")
    memory_reserve_bytes: ByteSize = Field(
        ByteSize(512 * MIB), ge=0, description="Memory kept free"
    )

    llm_api_key: SecretStr | None = Field(None, description="Key of the vision LLM")
    llm_base_url: str | None = Field(
        None, description="An OpenAI-compatible server, which may need no key; unset: OpenAI"
    )
    llm_model: str = Field("gpt-4o-mini", description="Model that describes images")
    llm_timeout_s: float = Field(30, gt=0, le=600, description="Time limit of a call")
    llm_input_usd: float | None = Field(
        None, ge=0, description="Price of a million tokens read, in US dollars; unset: no costs"
    )
    llm_output_usd: float | None = Field(
        None, ge=0, description="Price of a million tokens written, in US dollars; unset: no costs"
    )

    server: str = Field("http://127.0.0.1:3001", description="Server that the commands talk to")
    api_key: SecretStr | None = Field(None, description="Key that the commands send")

    tiers: Tiers = Tiers()
    sequential: SequentialSettings = SequentialSettings()
    documents: DocumentsSettings = DocumentsSettings()
    photos: PhotosSettings = PhotosSettings()
    images: ImagesSettings = ImagesSettings()

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Self:
        if self.renew_s * 2 > self.lease_s:
            raise ValueError("renew_s must be at most half of lease_s, or claims are lost")
        return self

    @model_validator(mode="after")
    def _budgets_have_prices(self) -> Self:
        tiers = [getattr(self.tiers, name) for name in Tiers.model_fields]
        capped = any((tier.llm_batch_usd, tier.llm_day_usd) != (None, None) for tier in tiers)
        if capped and None in (self.llm_input_usd, self.llm_output_usd):
            raise ValueError("a budget for the LLM needs llm_input_usd and llm_output_usd")
        return self

    @property
    def has_model(self) -> bool:
        """Whether a vision LLM is set up: by a key, or by a server that may need none."""
        return self.llm_api_key is not None or self.llm_base_url is not None

    @model_validator(mode="after")
    def _bucket_behind_cdn(self) -> Self:
        if self.cdn_url is not None and not (self.results_url or self.storage_url):
            raise ValueError("cdn_url needs results_url or storage_url: a bucket that it reads")
        return self

    @property
    def database(self) -> str:
        """The database's SQLAlchemy URL, with its password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'batchmill.sqlite3'}"

    @property
    def uploads_folder(self) -> Path:
        """The folder in which open uploads grow."""
        return self.uploads_dir or self.data_dir / "uploads"

    def tier(self, name: str) -> TierLimits:
        """Return the limits of a tier.

        Raises:
            UnknownNameError: there is no such tier.
        """
        if name not in Tiers.model_fields:
            raise UnknownNameError("tier", name, list(Tiers.model_fields))
        limits: TierLimits = getattr(self.tiers, name)
        return limits
