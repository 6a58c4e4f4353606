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
ROWS = 4
CELL_PX = 320
GAP_PX = 24
LABEL_PX = 44
INK, PAPER, GREEN = "#1f2933", "#ffffff", "#0b7a4b"


def main() -> int:
    """Run the mill on the folder, draw the sheet, return the exit code of the run."""
    command = ["run", "web", sys.argv[1], "-o", str(OUTPUT), "--overwrite"]
    print("$ batchmill", *command, flush=True)
    done = subprocess.run([sys.executable, "-m", "batchmill", *command], check=False)
    pairs = find_pairs(Path(sys.argv[1]), OUTPUT)
    if pairs:
        draw_sheet(pairs[:ROWS]).save(SHEET)
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
    """Draw one row a pair: before on the left, after on the right, with their sizes."""
    height = GAP_PX + len(pairs) * (CELL_PX * 3 // 4 + LABEL_PX)
    sheet = Image.new("RGB", (2 * CELL_PX + 3 * GAP_PX, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, pair in enumerate(pairs):
        top = GAP_PX + row * (CELL_PX * 3 // 4 + LABEL_PX)
        for column, path in enumerate(pair):
            left = GAP_PX + column * (CELL_PX + GAP_PX)
            sheet.paste(thumbnail(path), (left, top))
            draw.text(
                (left, top + CELL_PX * 3 // 4 + 6),
                label(pair, column),
                GREEN if column else INK,
                font=ImageFont.load_default(size=18),
            )
    return sheet


def thumbnail(path: Path) -> Image.Image:
    """Return the picture, cut to one cell."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        return ImageOps.fit(upright, (CELL_PX, CELL_PX * 3 // 4))


def label(pair: tuple[Path, Path], column: int) -> str:
    """Return what stands below a picture: its name and size, and what was saved."""
    before, after = (path.stat().st_size for path in pair)
    text = f"{pair[column].name}  {pair[column].stat().st_size / 1000:,.0f} kB"
    return f"{text}  (-{100 * (1 - after / before):.0f} %)" if column else text


if __name__ == "__main__":
    sys.exit(main())
