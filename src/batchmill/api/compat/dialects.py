"""The five dialects as the rest sees them: routes for the application, differences for the core."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter

from batchmill.api.compat import documents, images, photos, result_tokens, sequential
from batchmill.api.compat.copy_to_folder import copies_to
from batchmill.errors.request import InvalidOptionError, UsageError
from batchmill.model.families import DOCUMENTS, IMAGES, PHOTOS, SEQUENTIAL
from batchmill.service.family_rules import FamilyRules
from batchmill.settings.fields import Settings

ROUTERS: Final[tuple[APIRouter, ...]] = (
    sequential.router,
    documents.router,
    photos.router,
    images.router,
    result_tokens.router,
)


def family_rules(settings: Settings) -> Mapping[str, FamilyRules]:
    """Return by family what the core does differently for its batches.

    Raises:
        UsageError: an option or a format that the settings name is unknown.
    """
    images.formats(settings.images)
    if settings.photos.options:
        try:
            photos.pipeline(settings.photos, {})
        except InvalidOptionError as error:
            raise UsageError(f"BATCHMILL_PHOTOS_OPTIONS: {error.message}") from error
    return {
        SEQUENTIAL: FamilyRules(crash_retries=settings.sequential.crashes),
        DOCUMENTS: FamilyRules(
            concurrency=settings.documents.concurrency,
            crash_retries=settings.documents.retries,
        ),
        PHOTOS: FamilyRules(after_attempt=copies_to(settings.photos.output_dir)),
        IMAGES: FamilyRules(concurrency=settings.images.concurrency),
    }
