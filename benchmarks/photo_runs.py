"""Forty photos by one command: images per CPU second of `batchmill run` and of the usual loops.

    make bench-photos                               photos that two packages ship
    make bench-photos PHOTOS=FOLDER                 your own
    BENCH_BEFORE=FOLDER make bench-photos           beside an earlier commit, checked out there

A folder of fewer than forty stills is filled up: each is enlarged to 8 megapixels, with grain, as
JPEG, then written again as WebP, AVIF and TIFF. All make pictures that fit 1024×1024, of quality
80: WebP, and progressive JPEG. CPU is that of whole processes from their start to the last one's
end; by kind of file it is that of the loops alone, and of `batchmill run` without what it takes for
one pixel. Medians of BENCH_ROUNDS, the rows in turn. Needs Node. Writes
benchmarks/results/photos.md.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import PIL
import pyvips
from likeness import ssim
from photos import kind as kind_of
from photos import stills
from systems import PEER, circumstances, install_peer
from whole import (
    BEHIND,
    BOX,
    QUALITY,
    Rows,
    Spent,
    against,
    batchmill,
    cpu_s,
    earlier,
    floor,
    listed,
    measured,
    module_version,
    pillow,
    publish,
    sharp,
    table,
    trees,
    turns,
    unused,
    version,
    wall_s,
    whole,
)

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
COUNT = int(os.environ.get("BENCH_PHOTOS", "40"))
FORMATS = os.environ.get("BENCH_FORMATS", "webp,jpeg").split(",")
TITLES = {"webp": f"WebP, quality {QUALITY}", "jpeg": f"JPEG, quality {QUALITY}, progressive"}
LARGE_PX = 8_000_000
SAVED = {"jpg": "[Q=92]", "webp": "[Q=85]", "avif": "[Q=60,effort=2]", "tif": "[compression=lzw]"}
LEAST_OF_A_KIND = 8
"""With fewer files a run of one kind is mostly its start; then they are there several times."""
LARGE = "JPEG of 8 megapixels"
RUN, FLOOR, SPLIT, START = "`batchmill run`", "floor: a loop of ours", "split", "start"
SHARP, PILLOW = "sharp loop, 2 in flight", "Pillow loop, 2 processes"
VIPSTHUMBNAIL = "vipsthumbnail, 2 by xargs"
Runs = Mapping[str, Sequence[Spent]]


@dataclass(frozen=True, slots=True)
class Photos:
    """The files by kind, the same again for runs of one kind, and a place for what is made."""

    folder: Path
    groups: Mapping[str, Sequence[Path]]
    kinds: Mapping[str, Sequence[Path]]
    pixel: Path
    """Takes no time: loops begin with it, so that no kind of file pays for what they load."""
    scratch: Path

    @property
    def files(self) -> Sequence[Path]:
        return [file for group in self.groups.values() for file in group]

    def out(self, name: str) -> Path:
        """Return a new folder for the results of a row."""
        return unused(self._place(name))

    def latest(self, name: str) -> Path:
        """Return the folder of a row that was made last."""
        return max(self._place(name).iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def _place(self, name: str) -> Path:
        return self.scratch / name.replace("`", "").replace("/", "-")


def main(folder: Path) -> None:
    """Let the rows take turns for each format, print and write the tables."""
    install_peer()
    with tempfile.TemporaryDirectory() as name:
        photos = _collected(folder, Path(name))
        parts = [_heading(photos)]
        for made in FORMATS:
            runs = measured(_rows(photos, made), ROUNDS, warm=made == FORMATS[0])
            parts.append(_section(made, photos, runs))
    parts[0] = parts[0].format(circumstances=circumstances())
    publish("photos", "\n".join(parts))


# ---------------------------------------------------------------- files


def _collected(source: Path, into: Path) -> Photos:
    """Link the photos into a folder for each kind, under names that differ in their stems."""
    found = [path for path in stills(source) if path.suffix.lower() != ".heic"]  # sharp has no HEVC
    groups: dict[str, list[Path]] = {}
    for number, path in enumerate(found[:COUNT]):
        group = groups.setdefault(kind_of(str(path)), [])
        group.append(_place(into, kind_of(str(path))) / f"{number:02}-{path.name}")
        shutil.copyfile(path, group[-1])
    for number, (path, suffix) in enumerate(
        [(path, suffix) for suffix in SAVED for path in found][: max(0, COUNT - len(found))]
    ):
        kind = {"jpg": LARGE, "tif": "TIFF", "webp": "WebP", "avif": "AVIF"}[suffix]
        name = f"{number:02}-{path.stem}-{suffix}.{suffix}"
        groups.setdefault(kind, []).append(_place(into, kind) / name)
        _saved(path, groups[kind][-1])
    kinds = {kind: _repeated(files, into / "kinds") for kind, files in groups.items()}
    pixel = into / "pixel.png"
    pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").write_to_file(str(pixel))
    return Photos(into / "photos", groups, kinds, pixel, into / "scratch")


def _place(into: Path, kind: str) -> Path:
    folder = into / "photos" / kind.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _repeated(files: Sequence[Path], into: Path) -> Sequence[Path]:
    """Link files of a kind into a folder, so often that they are not few."""
    folder = into / files[0].parent.name
    folder.mkdir(parents=True)
    times = -(-LEAST_OF_A_KIND // len(files))
    links = [folder / f"{turn}-{file.name}" for turn in range(times) for file in files]
    for number, link in enumerate(links):
        link.hardlink_to(files[number % len(files)])
    return links


def _saved(source: Path, made: Path) -> None:
    """Write a photo again in the format of the new name; a JPEG is enlarged and gets grain."""
    image = pyvips.Image.new_from_file(str(source))
    suffix = made.suffix.lstrip(".")
    if suffix == "jpg":
        image = image.resize((LARGE_PX / (image.width * image.height)) ** 0.5)
        noise = pyvips.Image.gaussnoise(image.width, image.height, sigma=4, mean=0, seed=1)
        image = (image + noise).cast("uchar")
    image.write_to_file(f"{made}{SAVED[suffix]}")


# ---------------------------------------------------------------- rows


def _rows(photos: Photos, made: str) -> Rows:
    rows: dict[str, partial[Spent]] = {}
    for when, tree in trees().items():
        rows[f"{RUN}, {when}"] = partial(_run, tree, photos, photos.folder, made)
        rows[f"{FLOOR}, {when}"] = partial(_floor, tree, photos, made)
    here = trees()["now"]
    rows[SPLIT] = partial(_floor, here, photos, made, "split")
    rows[START] = partial(_run, here, photos, photos.pixel, made)
    for kind, group in photos.kinds.items():
        rows[f"kind {kind}"] = partial(_run, here, photos, group[0].parent, made)
    rows[SHARP] = partial(_loop, photos, made, SHARP)
    rows[PILLOW] = partial(_loop, photos, made, PILLOW)
    if shutil.which("vipsthumbnail"):
        rows[VIPSTHUMBNAIL] = partial(_vipsthumbnail, photos, made)
    return rows


def _run(tree: Path, photos: Photos, source: Path, made: str) -> Spent:
    is_compared = source == photos.folder and tree == trees()["now"]
    out = photos.out(RUN if is_compared else START)
    return batchmill(tree, "run", "web", str(source), "-o", str(out / "out"), "-f", made)


def _floor(tree: Path, photos: Photos, made: str, *more: str) -> Spent:
    files = [photos.pixel, *photos.files]
    return floor(tree, files, photos.out(FLOOR), "web", made, *more)


def _loop(photos: Photos, made: str, name: str) -> Spent:
    loop = sharp if name == SHARP else pillow
    return loop({"pixel": [photos.pixel], **photos.groups}, photos.out(name), made)


def _vipsthumbnail(photos: Photos, made: str) -> Spent:
    files, out = photos.files, photos.out(VIPSTHUMBNAIL)
    names = listed(files, out / "files.txt")
    saving = f"[Q={QUALITY},strip" + (",interlace,optimize-coding]" if made == "jpeg" else "]")
    half = str(-(-len(files) // 2))
    command = ["xargs", "-a", str(names), "-P2", f"-n{half}", "vipsthumbnail"]
    sized = ["--size", f"{BOX}x{BOX}>", "-o", f"{out}/%s.{made}{saving}"]
    return whole([*command, *sized], may_fail=True)  # a format that it can't read


# ---------------------------------------------------------------- the page


def _heading(photos: Photos) -> str:
    kinds = ", ".join(f"{len(files)} {kind}" for kind, files in photos.groups.items())
    return (
        f"# Photos by one command\n\nMade by `make bench-photos`: {len(photos.files)} files"
        f" ({kinds}). {turns(ROUNDS)};"
        f" {{circumstances}}{earlier()}; sharp"
        f" {module_version(PEER / 'node_modules' / 'sharp')}, Pillow {PIL.__version__},"
        f" vipsthumbnail of libvips {version('vipsthumbnail', '--version').removeprefix('vips-')}."
    )


def _section(made: str, photos: Photos, runs: Runs) -> str:
    names = [name for name in (RUN, FLOOR, SHARP, PILLOW, VIPSTHUMBNAIL) if _now(runs, name)]
    total = len(photos.files)
    read = _made_of(photos, made) if VIPSTHUMBNAIL in names else total
    spent = {
        name: 1000 * cpu_s(_now(runs, name)) / (read if name == VIPSTHUMBNAIL else total)
        for name in names
    }
    lines = []
    for name in names:
        line = [name, f"{spent[name]:.1f}", f"{1000 / spent[name]:.2f}"]
        line += [f"{spent[name] / spent[RUN]:.2f}", f"{wall_s(_now(runs, name)):.2f}"]
        if "before" in trees():
            then = runs.get(f"{name}, before")
            line.append(f"{1000 * cpu_s(then) / total:.1f}" if then else "")
        lines.append(line)
    header = ["what", "CPU ms a photo", "images/CPU s", "CPU ÷ `run`", "wall, s"]
    header += ["before: CPU ms a photo"] if "before" in trees() else []
    less = (
        f" vipsthumbnail read {read} of the {total} files; only these count."
        if read < total
        else ""
    )
    return "\n".join(
        [
            f"\n## {TITLES[made]}\n",
            table(header, lines),
            f"\n`batchmill run` takes {spent[RUN] / spent[FLOOR]:.3f} × the floor's CPU (target"
            f" 1.05). {against(RUN, spent, (SHARP, PILLOW, VIPSTHUMBNAIL))}{less}",
            *_likeness(made, photos),
            "\n" + _by_kind(photos, runs),
        ]
    )


def _now(runs: Runs, name: str) -> Sequence[Spent]:
    return runs.get(f"{name}, now") or runs.get(name, ())


def _made_of(photos: Photos, made: str) -> int:
    """Return how many pictures vipsthumbnail made: it may not read every format."""
    found = photos.latest(VIPSTHUMBNAIL).glob(f"*.{made}")
    return len([*found]) or 1


def _likeness(made: str, photos: Photos) -> list[str]:
    """Compare our pictures with sharp's: likeness to their sources, and bytes."""
    ours: list[tuple[float, int]] = []
    peers: list[tuple[float, int]] = []
    suffix = "jpg" if made == "jpeg" else made
    for file in photos.files:
        own = photos.latest(RUN) / "out" / file.parent.name
        other = photos.latest(SHARP) / "out" / f"{file.stem}.{made}"
        for each, path in ((ours, own / f"{file.stem}.{suffix}"), (peers, other)):
            each.append((ssim(str(file), path), path.stat().st_size))
    means = [statistics.fmean(like for like, _ in each) for each in (ours, peers)]
    ratio = sum(size for _, size in ours) / sum(size for _, size in peers)
    return [
        f"\nSSIM of luma to a full decode by Pillow: ours {means[0]:.4f}, sharp's {means[1]:.4f};"
        f" bytes ours ÷ sharp's {ratio:.3f}."
    ]


def _by_kind(photos: Photos, runs: Runs) -> str:
    """Say for each kind where its milliseconds go, and how the loops compare."""
    start_ms = 1000 * cpu_s(runs[START])
    bare = [
        {file: cpu_ms for file, cpu_ms, _ in json.loads(run.told)["files"]}
        for run in runs[f"{FLOOR}, now"]
    ]
    parts = [json.loads(run.told)["parts"] for run in runs[SPLIT]]
    loops = {name: [json.loads(run.told) for run in runs[name]] for name in (SHARP, PILLOW)}
    lines: list[list[object]] = []
    for kind, files in photos.groups.items():
        count = len(files)
        run = (1000 * cpu_s(runs[f"kind {kind}"]) - start_ms) / len(photos.kinds[kind])
        loop = statistics.median(sum(done[str(file)] for file in files) / count for done in bare)
        split = [
            statistics.median(
                sum(done[str(file)][part] for file in files) / count for done in parts
            )
            for part in range(3)
        ]
        others = [statistics.median(done[kind] / count for done in loops[name]) for name in loops]
        line = [*split, loop, run - loop, run, *others]
        ratios = [other / run for other in others]
        lines.append(
            [kind, count, *(f"{each:.1f}" for each in line), *map("{:.2f}".format, ratios)]
        )
    header = ["kind", "files", "decode", "resize", "encode", "floor", "sandbox and rest", "run"]
    header += ["sharp", "Pillow", "sharp ÷ run", "Pillow ÷ run"]
    behind = [
        f"{line[0]} ({peer}, {ratio} ×)"
        for line in lines
        for peer, ratio in zip(("sharp", "Pillow"), line[-2:], strict=True)
        if float(str(ratio)) < 1
    ]
    return (
        "CPU ms a photo by kind. Decode, resize and encode are done one after another, by the floor"
        " together; sandbox and rest is what `batchmill run` takes beyond the floor."
        f" Its start and end, {start_ms:.0f} ms a run, are left out of these, as are those of the"
        f" loops.\n\n{table(header, lines)}\n\nBy kind of file. {BEHIND}:"
        f" {', '.join(behind) or 'none'}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
