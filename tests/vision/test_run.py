"""`batchmill run describe`, as a process of its own."""

import os
from pathlib import Path

import pytest

from cli.conftest import Run, batchmill
from support.pictures import scene
from support.vision_server import VisionServer, without_model

__all__ = ["batchmill"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        scene(96, 64).write_to_file(str(folder / name))
    return folder


@pytest.mark.long
def test_a_run_writes_the_csv_of_stock_agencies_and_goes_on_with_it(
    batchmill: Run, pictures: Path, tmp_path: Path, vision: VisionServer
) -> None:
    vision.then("refusal")
    arguments = ("run", "describe", pictures, "-o", "out", "--stock-csv", "stock.csv", "-j", "1")

    prices = {"BATCHMILL_LLM_INPUT_USD": "0.15", "BATCHMILL_LLM_OUTPUT_USD": "0.6"}

    done = batchmill(*arguments, "--joblog", "log", **prices)
    again = batchmill(*arguments, "--joblog", "log", "--resume-failed")

    assert (done.returncode, again.returncode) == (1, 0)
    lines = (tmp_path / "stock.csv").read_text().splitlines()
    assert lines[0] == "Filename,Title,Keywords,Category,Releases"
    assert sorted(line.partition(",")[0] for line in lines[1:]) == ["a.jpg", "b.jpg"]
    assert len(vision.asked) == 3
    assert "1 call to the model, 960 tokens, 0.0002 US dollars" in done.stderr


def test_without_a_key_a_run_says_what_to_set_and_begins_nothing(
    batchmill: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(os.environ) - set(without_model()):
        monkeypatch.delenv(name)

    done = batchmill("run", "describe", pictures, "-o", "out")

    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_provider_local_needs_no_key(
    batchmill: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(os.environ) - set(without_model()):
        monkeypatch.delenv(name)

    done = batchmill(
        "run", "describe", pictures, "--json", "--quiet", "--set", "describe.provider=local"
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"source": "heuristic"') == 2
