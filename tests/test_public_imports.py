"""What programs and plug-ins import stays importable, whatever moves inside."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import batchmill

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTED = sorted(
    {
        found[0].strip()
        for page in PAGES
        for found in re.finditer(
            r"^(?:from batchmill[\w.]* import [\w, ]+|import batchmill[\w.]*)$",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    }
)
OF_PLUG_INS = (
    "from batchmill.operations.base import Options, RemoteCall, Source, Transform, Work",
    "from batchmill.operations.base import Copy, ExtraFile, Operation, Picture, each_picture",
    "from batchmill.operations.picture import Encoding, Picture",
    "from batchmill.model.media import Family",
    "from batchmill.model.pipeline import Step",
    "from batchmill.errors.item import ItemError, UnreadableFileError",
    "from batchmill.errors.outage import OutageError",
    "from batchmill.errors.request import UnknownNameError",
    "from batchmill.logs import set_up",
)


def _import(line: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", line], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("line", [*DOCUMENTED, *OF_PLUG_INS])
def test_a_documented_import_works(line: str) -> None:
    done = _import(line)

    assert done.returncode == 0, done.stderr


def test_every_public_name_of_the_package_can_be_had() -> None:
    absent = [name for name in batchmill._PUBLIC if not hasattr(batchmill, name)]

    assert DOCUMENTED, "no page shows an import any more"
    assert not absent


def test_the_old_name_of_the_contract_warns() -> None:
    done = _import("import batchmill.operations.base", "-W", "error::DeprecationWarning")

    assert "batchmill.operations.contract" in done.stderr
    assert done.returncode == 1
