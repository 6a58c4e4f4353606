"""The environment of a child: what libraries need, and no secrets."""

from collections.abc import Mapping
from pathlib import Path

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


def environment(own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the child's environment: a few of our `own` variables, and `folder` as its home."""
    home = {name: str(folder) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    return {name: own[name] for name in PASSED if name in own} | FIXED | home
