"""The loop that one writes with Pillow: several processes, one group of files after another.

    python benchmarks/pillow_loop.py JOB.json

A JPEG is shrunk while it is decoded; color profiles are left out of account, which saves Pillow
work. Prints CPU ms by group.
"""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

BOX = (1024, 1024)
OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 80, "progressive": True, "optimize": True},
    "webp": {"quality": 80, "method": 4},
}


def convert(kind: str, out: str, file: str) -> float:
    """Write one file's picture; return the CPU ms that it took."""
    began = time.process_time()
    with Image.open(file) as image:
        image.draft("RGB", BOX)
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail(BOX, Image.Resampling.LANCZOS)
        shown = upright.convert("RGB") if kind == "jpeg" else upright
        shown.save(Path(out, f"{Path(file).stem}.{kind}"), **OPTIONS[kind])
    return 1000 * (time.process_time() - began)


def main(path: str) -> None:
    """Do every file once and print what it took."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    one = partial(convert, job["kind"], job["out"])
    if job["at_once"] == 1:
        spent = {name: sum(map(one, files)) for name, files in job["groups"].items()}
    else:
        with ProcessPoolExecutor(job["at_once"]) as pool:
            spent = {name: sum(pool.map(one, files)) for name, files in job["groups"].items()}
    print(json.dumps(spent))


if __name__ == "__main__":
    main(sys.argv[1])
