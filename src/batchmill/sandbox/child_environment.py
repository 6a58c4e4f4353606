"""The environment of a child: what libraries need, and no secrets."""

import os
from collections.abc import Mapping

PASSED = (
    *("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT"),
    *("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("FONTCONFIG_FILE", "FONTCONFIG_PATH"),
)
FIXED = {
    "MALLOC_ARENA_MAX": "2",
    "VIPS_CONCURRENCY": "1",
    "VIPS_BLOCK_UNTRUSTED": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


_KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**26),
}
"""Keeps the memory of one picture for the next, instead of thousands of new pages for each. A child
that has grown too large is replaced."""
_KEEPS_FROM = [2, 35]
"""An older glibc refuses the first, and the others then make it return more memory, not less."""
_NAME = "CS_GNU_LIBC_VERSION"
_LIBC = (os.confstr(_NAME) or "") if _NAME in os.confstr_names else ""
"""Such as `glibc 2.36`; empty where another library is used."""
KEPT = _KEEPING if _LIBC and list(map(int, _LIBC.split()[1].split(".")[:2])) >= _KEEPS_FROM else {}


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return what of our `own` environment a child gets, and what it always gets."""
    return {name: own[name] for name in PASSED if name in own} | FIXED | KEPT


def homes(folder: str) -> dict[str, str]:
    """Return the variables that say where libraries write: what they keep lives as the child."""
    return {"HOME": folder, "XDG_CACHE_HOME": folder, "TMPDIR": folder}
