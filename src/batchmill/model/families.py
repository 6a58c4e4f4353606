"""Names of the families of batches that the reference documents know, each with limits of its own.

A pipeline of /v1 names its family itself; `faceDetection` is also that of our face presets.
"""

from typing import Final

SEQUENTIAL: Final = "sequential"
DOCUMENTS: Final = "document-jobs"
PHOTOS: Final = "faceDetection"
IMAGES: Final = "image-jobs"
