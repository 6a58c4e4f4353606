"""One photo by one command, from nothing to the file: what starting costs, beside other programs.

    make bench-one                                      the largest JPEG that two packages ship
    PHOTO=FILE make bench-one                           your own
    BENCH_BEFORE=FOLDER make bench-one                  beside an earlier commit, checked out there

All write a WebP of quality 80 that fits 1024×1024. Needs Node; programs that are not installed are
left out (apt-get install libvips-tools imagemagick). Medians of BENCH_ROUNDS, the rows in turn.
Writes benchmarks/results/one.md.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import PIL
import pyvips
from photos import stills
from systems import PEER, circumstances, install_peer, started, tree_cpu_s
from whole import (
    BOX,
    HERE,
    LIMIT_S,
    QUALITY,
    Spent,
    against,
    batchmill,
    cpu_s,
    earlier,
    floor,
    measured,
    module_version,
    package,
    publish,
    sharp_cli,
    table,
    trees,
    turns,
    unused,
    version,
    wall_s,
    whole,
)

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
OURS = "`batchmill run web`"
LIBRARY = "`process_batch`, in a Python process"
BARE = "our decode and encode alone, in a Python process"
MAKING = (OURS, LIBRARY, BARE)
SHARP_CLI, SHARP, PILLOW = "sharp-cli", "a script with sharp", "a script with Pillow"
VIPSTHUMBNAIL, MOGRIFY = "vipsthumbnail", "mogrify"
PEERS = (SHARP_CLI, SHARP, PILLOW, VIPSTHUMBNAIL, MOGRIFY)
SHARP_SCRIPT = """
const sharp = require("sharp");
const [file, made] = process.argv.slice(1);
sharp(file).autoOrient()
  .resize({ width: 1024, height: 1024, fit: "inside", withoutEnlargement: true })
  .webp({ quality: 80 }).toFile(made);
"""
PILLOW_SCRIPT = """
import sys
from PIL import Image, ImageOps
with Image.open(sys.argv[1]) as image:
    image.draft("RGB", (1024, 1024))
    image = ImageOps.exif_transpose(image)
    image.thumbnail((1024, 1024), Image.Resampling.LANCZOS)
    image.save(sys.argv[2], quality=80, method=4)
"""
LIBRARY_SCRIPT = """
import asyncio, sys
from batchmill import process_batch
result = asyncio.run(process_batch([sys.argv[1]], "web", output_dir=sys.argv[2]))
"""
Row = Callable[[], Spent]


def main(photos: Path) -> None:
    """Measure every row in turn, print and write the table."""
    photo = Path(os.environ["PHOTO"]) if "PHOTO" in os.environ else _largest(photos)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows: dict[str, Row] = {}
        for when, tree in trees().items():
            rows |= {f"{row}, {when}": run for row, run in _ours(tree, photo, folder).items()}
        rows |= _peers(photo, folder)
        runs = measured(
            {row: partial(_made, row, run, folder) for row, run in rows.items()}, ROUNDS
        )
    publish("one", _page(photo, runs))


def _made(row: str, run: Row, folder: Path) -> Spent:
    """Measure a row, and see that those which are to make a picture did."""
    before = _pictures(folder)
    spent = run()
    makes = row in PEERS or row.startswith(MAKING)
    assert not makes or _pictures(folder) == before + 1, row
    return spent


def _pictures(folder: Path) -> int:
    return len([*(folder / "out").rglob("*.webp")])


def _largest(photos: Path) -> Path:
    jpegs = [path for path in stills(photos) if path.suffix == ".jpg"]
    return max(jpegs, key=lambda path: _pixels(path)[0] * _pixels(path)[1])


def _pixels(path: Path) -> tuple[int, int]:
    image = pyvips.Image.new_from_file(str(path))
    return image.width, image.height


# ---------------------------------------------------------------- rows


def _ours(tree: Path, photo: Path, folder: Path) -> dict[str, Row]:
    def run() -> Spent:
        return batchmill(tree, "run", "web", str(photo), "-o", str(_out(folder)))

    def library() -> Spent:
        script = [sys.executable, "-c", LIBRARY_SCRIPT, str(photo), str(_out(folder))]
        return whole(script, package(tree))

    def bare() -> Spent:
        return floor(tree, [photo], _out(folder), "web", "webp")

    return {
        OURS: run,
        LIBRARY: library,
        BARE: bare,
        "`batchmill --version`": partial(batchmill, tree, "--version"),
        "`batchmill --help`": partial(batchmill, tree, "--help"),
        "`batchmill run --help`": partial(batchmill, tree, "run", "--help"),
        "`batchmill serve`, until /readyz answers 200": lambda: _ready(tree, _out(folder)),
    }


def _ready(tree: Path, folder: Path) -> Spent:
    """Start a server on an empty folder and measure until it is ready."""
    env = {**package(tree), "BATCHMILL_DATA_DIR": str(folder / "data")}
    serve = [sys.executable, "-m", "batchmill", "serve", "--port", "0"]
    began = time.perf_counter()
    with started(serve, env, r"listens on (http://\S+)") as (pid, address):
        while httpx.get(f"{address}/readyz").status_code != 200:
            assert time.perf_counter() < began + LIMIT_S
            time.sleep(0.01)
        return Spent(time.perf_counter() - began, tree_cpu_s(pid))


def _peers(photo: Path, folder: Path) -> dict[str, Row]:
    """Return the peers that are installed."""
    install_peer()
    cli = sharp_cli()

    def by_sharp_cli() -> Spent:
        resize = ["resize", str(BOX), str(BOX), "--fit", "inside", "--withoutEnlargement"]
        made = ["-f", "webp", "-q", str(QUALITY), "-i", str(photo), "-o", str(_out(folder))]
        return whole([*cli, *made, *resize])

    def by_sharp() -> Spent:
        script = ["node", "-e", SHARP_SCRIPT, str(photo), str(_out(folder) / "made.webp")]
        return whole(script, {**os.environ, "NODE_PATH": str(PEER / "node_modules")})

    def by_pillow() -> Spent:
        made = str(_out(folder) / "made.webp")
        return whole([sys.executable, "-c", PILLOW_SCRIPT, str(photo), made])

    def by_vipsthumbnail() -> Spent:
        made = f"{_out(folder)}/%s.webp[Q={QUALITY},strip]"
        return whole([VIPSTHUMBNAIL, str(photo), "--size", f"{BOX}x{BOX}>", "-o", made])

    def by_mogrify() -> Spent:
        made = ["-path", str(_out(folder)), "-format", "webp", "-quality", str(QUALITY)]
        resize = ["-auto-orient", "-resize", f"{BOX}x{BOX}>", "-strip"]
        return whole([MOGRIFY, *made, *resize, str(photo)])

    rows = {SHARP_CLI: by_sharp_cli, SHARP: by_sharp, PILLOW: by_pillow}
    rows |= {VIPSTHUMBNAIL: by_vipsthumbnail} if shutil.which(VIPSTHUMBNAIL) else {}
    return rows | ({MOGRIFY: by_mogrify} if shutil.which(MOGRIFY) else {})


def _out(folder: Path) -> Path:
    return unused(folder / "out")


# ---------------------------------------------------------------- the page


def _page(photo: Path, runs: dict[str, list[Spent]]) -> str:
    before = "before" in trees()
    names = [name.removesuffix(", now") for name in runs if not name.endswith(", before")]
    times = {name.removesuffix(", now"): (wall_s(each), cpu_s(each)) for name, each in runs.items()}
    lines = []
    for name in names:
        wall, cpu = times[name]
        line = [name, f"{1000 * wall:.0f}", f"{1000 * cpu:.0f}"]
        if before:
            then = times.get(f"{name}, before")
            line += [f"{1000 * each:.0f}" for each in then] if then else ["", ""]
        lines.append([*line, f"{cpu / times[OURS][1]:.2f}"])
    header = ["what", "wall, ms", "CPU, ms"]
    header += ["before: wall, ms", "CPU, ms"] if before else []
    cpu_of, wall_of = ({name: times[name][part] for name in names} for part in (1, 0))
    missing = [name for name in (VIPSTHUMBNAIL, MOGRIFY) if name not in times]
    return "\n".join(
        [
            "# One photo by one command\n",
            f"Made by `make bench-one`: {photo.name}, {'×'.join(map(str, _pixels(photo)))} px, to a"
            f" WebP of quality {QUALITY} that fits {BOX}×{BOX}. {turns(ROUNDS)};"
            f" {circumstances()}{earlier()}; {_versions()}.\n",
            table([*header, "CPU ÷ ours"], lines),
            f"\nBy CPU. {against(OURS, cpu_of, PEERS)}\n",
            f"By wall time. {against(OURS, wall_of, PEERS)}",
            *[f"\nNot installed, so not measured: {name}." for name in missing],
        ]
    )


def _versions() -> str:
    cli = HERE.parent / "build" / "sharp-cli" / "node_modules"
    return (
        f"sharp {module_version(PEER / 'node_modules' / 'sharp')}, sharp-cli"
        f" {module_version(cli / 'sharp-cli')} on sharp {module_version(cli / 'sharp')}, Pillow"
        f" {PIL.__version__}, vipsthumbnail of libvips"
        f" {version(VIPSTHUMBNAIL, '--version').removeprefix('vips-')}, ImageMagick"
        f" {version(MOGRIFY, '--version', word=2)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
