"""Runs the main job on real photos: shrinks them for the web and draws a picture of the outcome.

python examples/demo_photos.py FOLDER
"""

import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

BUILD = Path("build")
OUTPUT = BUILD / "demo"
SHEET = BUILD / "demo.png"
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff"}
COLUMNS = 4
WIDTH_PX, HEIGHT_PX, GAP_PX, LABEL_PX = 240, 180, 16, 40
PAPER = "#ffffff"
COLOURS = ("#1f2933", "#0b7a4b")


def main() -> int:
    """Run batchmill on the folder, draw the sheet, return the exit code of the run."""
    command = ["run", "web", sys.argv[1], "-o", str(OUTPUT), "--overwrite"]
    print("$ batchmill", *command, flush=True)
    done = subprocess.run([sys.executable, "-m", "batchmill", *command], check=False)
    pairs = find_pairs(Path(sys.argv[1]), OUTPUT)
    if pairs:
        draw_sheet(pairs[:COLUMNS]).save(SHEET)
        print(f"\nThe files are in {OUTPUT}; {SHEET} shows some before and after.")
    return done.returncode


def find_pairs(before: Path, after: Path) -> list[tuple[Path, Path]]:
    """Pair every photo with its result, the largest saving first."""
    sources, results = pictures_in(before), pictures_in(after)
    pairs = [(sources[name], results[name]) for name in sources.keys() & results.keys()]
    return sorted(pairs, key=lambda pair: pair[1].stat().st_size - pair[0].stat().st_size)


def pictures_in(folder: Path) -> dict[Path, Path]:
    """Find the pictures below a folder by their place in it, without the ending."""
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    return {path.relative_to(folder).with_suffix(""): path for path in paths}


def draw_sheet(pairs: list[tuple[Path, Path]]) -> Image.Image:
    """Draw one column a pair: before on top, after below, with their sizes."""
    across, down = WIDTH_PX + GAP_PX, HEIGHT_PX + LABEL_PX
    sheet = Image.new("RGB", (GAP_PX + len(pairs) * across, GAP_PX + 2 * down), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=17)
    for column, pair in enumerate(pairs):
        left = GAP_PX + column * across
        for row, (path, words, colour) in enumerate(zip(pair, labels(pair), COLOURS, strict=True)):
            top = GAP_PX + row * down
            sheet.paste(thumbnail(path), (left, top))
            draw.text((left, top + HEIGHT_PX + 6), words, colour, font=font)
    return sheet


def thumbnail(path: Path) -> Image.Image:
    """Return the picture, cut to one cell."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return ImageOps.fit(upright, (WIDTH_PX, HEIGHT_PX))


def labels(pair: tuple[Path, Path]) -> tuple[str, str]:
    """Return what stands below both pictures: name and size, size and what was saved."""
    before, after = (path.stat().st_size for path in pair)
    return (
        f"{pair[0].name}  {before / 1000:,.0f} kB",
        f"{pair[1].suffix[1:]}  {after / 1000:,.0f} kB  -{100 * (1 - after / before):.0f} %",
    )


if __name__ == "__main__":
    sys.exit(main())
