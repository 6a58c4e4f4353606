"""The old name of `batchmill.operations.contract`; it goes on importing, with a warning."""

import warnings

from batchmill.operations.contract import (
    Copy,
    ExtraFile,
    Operation,
    Options,
    Picture,
    RemoteCall,
    Source,
    Transform,
    Work,
    each_picture,
    needs_nothing,
    no_progress,
)

__all__ = [
    "Copy",
    "ExtraFile",
    "Operation",
    "Options",
    "Picture",
    "RemoteCall",
    "Source",
    "Transform",
    "Work",
    "each_picture",
    "needs_nothing",
    "no_progress",
]

warnings.warn(
    "batchmill.operations.base is called batchmill.operations.contract now",
    DeprecationWarning,
    stacklevel=2,
)
