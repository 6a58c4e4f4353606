"""Face crops: batchmill against OpenCV's Haar cascade at 1024 px, on the same photos in one run.

    make bench-faces                  photos that two packages ship, one of them with a face
    make bench-faces FACES=FOLDER     your own: photos and a labels.json

labels.json: {"photo.jpg": {"faces": [{"box": [left, top, right, bottom]}], "ignore": [the same]}},
in pixels of the upright photo. Faces under "ignore" count neither as found nor as wrong.

A detected face is right when its centre lies in a labelled box and its side is between half and
twice the box's: the detectors draw their boxes differently, and a crop needs no more. The main
face is right when it is a labelled one and not much smaller (60 % of the area) than the largest.

Each detector is one process with one thread, and the two take turns. Times are CPU (user and
system) from the file to the written 300 × 300 JPEG, medians over the rounds after a warm-up.
Writes benchmarks/results/faces.md where there are labels, and ten crops of each detector to
build/faces.png.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "faces.md"
PHOTOS = ROOT / "build" / "photos"
LABELS = "labels.json"
SHEET = ROOT / "build" / "faces.png"
MEGAPIXELS = (2, 12)
TEN = 10
"""So many photos are enlarged and timed, and so many crops are drawn."""
SHIPPED: Mapping[str, list[list[float]]] = {"astronaut.png": [[181, 58, 270, 178]]}
"""The boxes of the faces in the photos that the packages ship."""
ENCODING = {"format": "jpeg", "quality": 90, "progressive": False}
KINDS = ("faces", "ignore")

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Crop = Callable[[Path, Path], list[Box]]
"""Crops the main face of a photo into a file; returns all faces found, the main one first."""


@dataclass(frozen=True)
class Photo:
    path: Path
    faces: tuple[Box, ...]
    ignored: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a detector said about one photo."""

    faces: tuple[Box, ...]
    cpu_ms: float


def main() -> int:
    arguments = _arguments()
    if arguments.serve:
        serve(arguments.serve, arguments.which)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = measured(labelled(arguments.faces), arguments.rounds, Path(folder))
    if (arguments.faces / LABELS).exists():
        RESULTS.write_text(report, encoding="utf-8")
    print(report)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path, nargs="?", default=PHOTOS, help="a folder of photos")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=DETECTORS, help=argparse.SUPPRESS)
    parser.add_argument("--which", default="main", help=argparse.SUPPRESS)
    return parser.parse_args()


# ---------------------------------------------------------------- the two detectors


def batchmill_crop(which: str) -> Crop:
    """Return the product's own path in a child: open, face_crop, encode."""
    from batchmill.operations import registry
    from batchmill.sandbox.messages import Job, JobStep
    from batchmill.sandbox.run_job import execute

    wanted: dict[str, Mapping[str, Any]] = {"face_crop": {"faces": which}, "convert": ENCODING}
    steps = tuple(
        JobStep(use, registry.options(use, given).model_dump(mode="json"), id=use)
        for use, given in wanted.items()
    )

    def crop(photo: Path, target: Path) -> list[Box]:
        with tempfile.TemporaryDirectory() as folder:
            report = execute(Job(str(photo), folder, photo.name, steps), lambda _: None)
            assert report.error is None, report.error
            if report.outputs:
                (Path(folder) / "out" / report.outputs[0].name).rename(target)
        return [
            (face["x"], face["y"], face["x"] + face["width"], face["y"] + face["height"])
            for face in report.data["faces"]
        ]

    return crop


def haar_crop(_which: str) -> Crop:
    """Return OpenCV as its tutorial has it: grey, at most 1024 px, the largest face, 20 % room."""
    import cv2

    cv2.setNumThreads(1)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")

    def crop(photo: Path, target: Path) -> list[Box]:
        image = cv2.imread(str(photo))
        scale = min(1.0, 1024 / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        found = cascade.detectMultiScale(grey, 1.1, 3, minSize=(30, 30))
        boxes = [
            (x / scale, y / scale, (x + width) / scale, (y + height) / scale)
            for x, y, width, height in found
        ]
        boxes.sort(key=area, reverse=True)
        if boxes:
            left, top, right, bottom = _padded(boxes[0], image.shape[1], image.shape[0])
            face = cv2.resize(
                image[top:bottom, left:right], (300, 300), interpolation=cv2.INTER_AREA
            )
            cv2.imwrite(str(target), face, [cv2.IMWRITE_JPEG_QUALITY, 90])
        return boxes

    return crop


def _padded(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    side = min((box[2] - box[0]) * 1.4, width, height)
    left = min(max((box[0] + box[2] - side) / 2, 0), width - side)
    top = min(max((box[1] + box[3] - side) / 2, 0), height - side)
    return int(left), int(top), int(left + side), int(top + side)


def no_crop(_which: str) -> Crop:
    """Return a child's path without faces, to see what it costs to have them."""
    from batchmill.operations import registry
    from batchmill.sandbox.messages import Job, JobStep
    from batchmill.sandbox.run_job import execute

    step = JobStep("resize", registry.options("resize", {"width": 300}).model_dump(mode="json"))

    def crop(photo: Path, _target: Path) -> list[Box]:
        with tempfile.TemporaryDirectory() as folder:
            execute(Job(str(photo), folder, photo.name, (step,)), lambda _: None)
        return []

    return crop


DETECTORS: Mapping[str, Callable[[str], Crop]] = {
    "batchmill": batchmill_crop,
    "Haar": haar_crop,
    "nothing": no_crop,
}


# ---------------------------------------------------------------- a detector's process


def serve(name: str, which: str) -> None:
    """Answer each line of standard input (photo, target) with the faces and what they cost."""
    answers, sys.stdout = sys.stdout, sys.stderr
    crop = DETECTORS[name](which)
    for line in sys.stdin:
        photo, target = json.loads(line)
        began = time.process_time()
        faces = crop(Path(photo), Path(target))
        cpu_ms = (time.process_time() - began) * 1000
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        body = {"faces": [list(map(float, box)) for box in faces], "cpu_ms": cpu_ms}
        print(json.dumps({**body, "peak_bytes": peak_bytes}), file=answers, flush=True)


class Detector:
    """A detector in a process of its own."""

    def __init__(self, name: str, which: str = "main") -> None:
        one_thread = dict.fromkeys(("VIPS_CONCURRENCY", "OPENBLAS_NUM_THREADS"), "1")
        self.peak_bytes = 0
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, "--which", which],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **one_thread},
        )

    def __enter__(self) -> "Detector":
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.communicate()

    def find(self, photo: Path, target: Path) -> Answer:
        """Return the faces of a photo; the crop of the main one lands in `target`."""
        print(json.dumps([str(photo), str(target)]), file=self._process.stdin, flush=True)
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        self.peak_bytes = answer["peak_bytes"]
        return Answer(tuple(map(tuple, answer["faces"])), answer["cpu_ms"])


# ---------------------------------------------------------------- photos


def labelled(folder: Path) -> list[Photo]:
    labels = folder / LABELS
    if not labels.exists():
        return [
            Photo(path, _boxes(SHIPPED.get(path.name, []))) for path in sorted(folder.iterdir())
        ]
    return [
        Photo(folder / name, *(_boxes(face["box"] for face in label[kind]) for kind in KINDS))
        for name, label in json.loads(labels.read_text(encoding="utf-8")).items()
    ]


def _boxes(boxes: Iterable[Sequence[float]]) -> tuple[Box, ...]:
    return tuple((left, top, right, bottom) for left, top, right, bottom in boxes)


def enlarged(photo: Photo, megapixels: int, folder: Path) -> Photo:
    """Return the photo as a camera of so many megapixels writes it: with noise, JPEG at 90."""
    import pyvips

    image = pyvips.Image.new_from_file(str(photo.path)).colourspace("srgb")[0:3]
    scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
    image = image.resize(scale, kernel="cubic")
    noise = pyvips.Image.gaussnoise(image.width, image.height, sigma=4, mean=0, seed=1)
    path = folder / f"{megapixels}-{photo.path.stem}.jpg"
    (image + noise).cast("uchar").jpegsave(str(path), Q=90)
    faces = tuple(tuple(side * scale for side in box) for box in photo.faces)
    return Photo(path, _boxes(faces))


# ---------------------------------------------------------------- what counts as right


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def shows(found: Box, labelled: Box) -> bool:
    x, y = (found[0] + found[2]) / 2, (found[1] + found[3]) / 2
    inside = labelled[0] < x < labelled[2] and labelled[1] < y < labelled[3]
    return inside and 0.25 <= area(found) / area(labelled) <= 4


def main_right(answer: Answer, photo: Photo) -> bool:
    least = 0.6 * max(map(area, photo.faces))
    large = [box for box in photo.faces if area(box) >= least]
    return bool(answer.faces) and any(shows(answer.faces[0], box) for box in large)


def tally(answer: Answer, photo: Photo) -> tuple[int, int, int]:
    """Return how many faces are right, wrong and missed."""
    missing = list(photo.faces)
    wrong = 0
    for found in answer.faces:
        match = next((box for box in missing if shows(found, box)), None)
        if match is not None:
            missing.remove(match)
        elif not any(shows(found, box) for box in photo.ignored):
            wrong += 1
    return len(photo.faces) - len(missing), wrong, len(missing)


# ---------------------------------------------------------------- the report


def measured(photos: list[Photo], rounds: int, folder: Path) -> str:
    """Run everything; return the page."""
    parts = [_about(photos, rounds), _accuracy(photos, folder)]
    with_faces = [photo for photo in photos if photo.faces]
    chosen = with_faces[:: -(-len(with_faces) // TEN)]
    parts.append(_speed(chosen, rounds, folder))
    _draw(chosen, folder)
    return "\n".join(parts)


def _about(photos: list[Photo], rounds: int) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    used = ("onnxruntime", "pyvips", "pyvips-binary", "opencv-python-headless", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in used)
    faces = sum(len(photo.faces) for photo in photos)
    return f"""# Face crops against OpenCV's Haar cascade

`make bench-faces` at commit {commit}: CPython {platform.python_version()} on {_processor()},
{os.cpu_count()} cores, {platform.system()}, load {os.getloadavg()[0]:.1f} at the start;
{versions}.

{len(photos)} photos, {sum(bool(photo.faces) for photo in photos)} of them with {faces} faces;
medians of {rounds} rounds. How it is measured stands in `benchmarks/faces.py`. "As they are" is
the photos at their own size; the others were enlarged. Two numbers are batchmill's and Haar's.
"""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")


def _accuracy(photos: list[Photo], folder: Path) -> str:
    rows = []
    for name, which in (("batchmill", "main"), ("batchmill", "all"), ("Haar", "main")):
        with Detector(name, which) as detector:
            targets = [folder / f"{name}-{which}-{photo.path.stem}.jpg" for photo in photos]
            answers = [
                (detector.find(photo.path, target), photo)
                for photo, target in zip(photos, targets, strict=True)
            ]
        rows.append(_accuracy_row(name if name == "Haar" else f"{name}, {which}", answers))
    head = "| detector | main face right | false alarms without a face | precision | recall |"
    return "\n".join([head, "|---|---|---|---|---|", *rows, ""])


def _accuracy_row(name: str, answers: list[tuple[Answer, Photo]]) -> str:
    right, wrong, missed = map(sum, zip(*(tally(*pair) for pair in answers), strict=True))
    shown = [main_right(*pair) for pair in answers if pair[1].faces]
    alarms = [bool(answer.faces) for answer, photo in answers if not photo.faces]
    precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
    return (
        f"| {name} | {sum(shown)} of {len(shown)} ({sum(shown) / len(shown):.1%}) "
        f"| {sum(alarms)} of {len(alarms)} | {precision:.3f} | {recall:.3f} |"
    )


def _speed(photos: list[Photo], rounds: int, folder: Path) -> str:
    head = "| size | batchmill CPU-ms | Haar CPU-ms | times faster | main face right | peak MiB |"
    rows = [head, "|---|---|---|---|---|---|"]
    for megapixels in (0, *MEGAPIXELS):
        large = [enlarged(photo, megapixels, folder) if megapixels else photo for photo in photos]
        size = f"{megapixels} MP" if megapixels else "as they are"
        with Detector("batchmill") as ours, Detector("Haar") as peer:
            spent = _taking_turns(large, (ours, peer), rounds, folder)
            peaks = [f"{detector.peak_bytes / 2**20:.0f}" for detector in (ours, peer)]
        (own_ms, own_right), (peer_ms, peer_right) = spent
        rows.append(
            f"| {size} | {own_ms:.0f} | {peer_ms:.0f} | {peer_ms / own_ms:.1f} "
            f"| {own_right} / {peer_right} of {len(large)} | {' / '.join(peaks)} |"
        )
    with Detector("nothing") as idle:
        idle.find(large[0].path, folder / "nothing.jpg")
        rows.append(
            f"\nA child that only resized the same 12 MP photo: {idle.peak_bytes / 2**20:.0f} MiB."
        )
    return "\n".join([*rows, ""])


def _taking_turns(
    photos: list[Photo], detectors: tuple[Detector, ...], rounds: int, folder: Path
) -> list[tuple[float, int]]:
    """Return for each detector the mean over photos of median CPU-ms, and how often it is right."""
    answers: list[list[list[Answer]]] = [[[] for _ in photos] for _ in detectors]
    for _ in range(rounds + 1):
        for index, photo in enumerate(photos):
            for number, detector in enumerate(detectors):
                answers[number][index].append(detector.find(photo.path, folder / "crop.jpg"))
    result = []
    for own in answers:
        medians = [statistics.median(answer.cpu_ms for answer in each[1:]) for each in own]
        right = sum(main_right(each[0], photo) for each, photo in zip(own, photos, strict=True))
        result.append((statistics.mean(medians), right))
    return result


def _draw(photos: list[Photo], folder: Path) -> None:
    """Lay ten crops of each detector side by side, batchmill's above."""
    import pyvips

    empty = pyvips.Image.black(300, 300, bands=3).cast("uchar")
    cells = []
    for name in ("batchmill", "Haar"):
        for photo in photos:
            path = folder / f"{name}-main-{photo.path.stem}.jpg"
            crop = pyvips.Image.new_from_file(str(path)) if path.exists() else empty
            cells.append(crop.colourspace("srgb").copy_memory())
    SHEET.parent.mkdir(exist_ok=True)
    pyvips.Image.arrayjoin(cells, across=len(photos), shim=8, background=255).pngsave(str(SHEET))


if __name__ == "__main__":
    sys.exit(main())
