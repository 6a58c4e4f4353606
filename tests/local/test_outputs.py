"""Results in the output folder: never two of one name, never half a file, always the same."""

import asyncio
import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.attempt.run import Finished
from batchmill.errors.item import OutputExistsError, OutputUnwritableError
from batchmill.local.inputs import LocalInput
from batchmill.local.outputs import Folder, Saved
from batchmill.model.item import Output, Result
from support.forced import Forced
from support.ring import examples

NAMES = st.sampled_from(["a.png", "a.jpg", "A.png", "x/a.png", "x/a.gif", "b.png", "a-2.png"])


def finished(folder: Path, *names: str, content: str = "made") -> Finished:
    folder.mkdir(parents=True)
    files, outputs = [], []
    for number, name in enumerate(names):
        path = folder / str(number)
        path.write_text(content)
        files.append(path)
        outputs.append(Output(name, len(content), "image/webp", "0" * 64, 0))
    return Finished(Result(tuple(outputs)), tuple(files), folder)


def item(name: str, number: int = 0) -> LocalInput:
    return LocalInput(Path(f"/in/{number}/{name}"), name)


async def save(folder: Folder, one: LocalInput, made: Finished) -> Saved:
    with folder.begin(one) as keep:
        return await keep(made)


async def save_all(folder: Folder, work: Path, names: list[str], order: list[int]) -> list[str]:
    """Begin all items in the order of `names`, and end them in another one."""
    items = [item(name, number) for number, name in enumerate(names)]
    gates = [asyncio.Event() for _ in items]
    saved: dict[int, str] = {}

    async def one(number: int) -> None:
        with folder.begin(items[number]) as keep:
            await gates[number].wait()
            stem = items[number].name.rsplit(".", 1)[0]
            made = finished(work / str(number), f"{stem}.webp", content=str(number))
            saved[number] = (await keep(made)).files[0].output.name

    tasks = [asyncio.create_task(one(number)) for number in range(len(items))]
    await asyncio.sleep(0)
    for number in order:
        gates[number].set()
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return [saved[number] for number in range(len(items))]


def test_a_file_is_forced_to_the_disk_before_it_gets_its_name(tmp_path: Path) -> None:
    forced = Forced(tmp_path)

    asyncio.run(
        save(Folder(tmp_path / "out", sync=forced), item("a.png"), finished(tmp_path / "w", "b"))
    )

    assert forced.notes == [("w/0", b"made")]
    assert (tmp_path / "out/b").exists()


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=8), st.randoms())
def test_whatever_ends_first_the_names_are_distinct_and_the_same(
    names: list[str], chance: random.Random
) -> None:
    order = list(range(len(names)))
    chance.shuffle(order)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        one = asyncio.run(save_all(Folder(Path(first, "out")), Path(first), names, sorted(order)))
        other = asyncio.run(save_all(Folder(Path(second, "out")), Path(second), names, order))
        contents = [Path(second, "out", name).read_text() for name in other]

    assert len({name.casefold() for name in one}) == len(one)
    assert contents == [str(number) for number in range(len(names))]
    if "a-2.png" not in names:  # whose own name is the one that another gets as a number
        assert one == other


def test_results_have_the_permissions_that_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = Folder(tmp_path / "out")
    finally:
        os.umask(before)

    saved = asyncio.run(save(folder, item("a.png"), finished(tmp_path / "1", "a.webp")))

    path = saved.files[0].path
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o640


def test_of_several_files_either_all_are_there_or_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.webp").write_text("precious")

    with pytest.raises(OutputExistsError):
        asyncio.run(save(folder, item("a.png"), finished(tmp_path / "1", "a.webp", "b.webp")))

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.webp"]
    assert (tmp_path / "out" / "b.webp").read_text() == "precious"


def test_a_later_try_of_the_same_file_takes_its_name_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    one = item("a.png")

    first = asyncio.run(save(folder, one, finished(tmp_path / "1", "a.webp", content="old")))
    second = asyncio.run(save(folder, one, finished(tmp_path / "2", "a.webp", content="new")))

    assert first.files[0].path == second.files[0].path
    assert (tmp_path / "out" / "a.webp").read_text() == "new"


def test_names_of_an_earlier_run_belong_to_their_inputs(tmp_path: Path) -> None:
    mine, others = item("a.png", 1), item("a.png", 2)
    folder = Folder(tmp_path / "out", earlier={"a.webp": mine.key})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.webp").write_text("earlier")

    other = asyncio.run(save(folder, others, finished(tmp_path / "1", "a.webp")))
    own = asyncio.run(save(folder, mine, finished(tmp_path / "2", "a.webp")))

    assert other.files[0].output.name == "a-2.webp"
    assert own.files[0].output.name == "a.webp"


def test_a_folder_where_a_file_is_says_so(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("a file")

    made = finished(tmp_path / "1", "x/a.webp")

    with pytest.raises(OutputUnwritableError, match=r"x/a\.webp"):
        asyncio.run(save(Folder(tmp_path / "out"), item("x/a.png"), made))


def test_what_was_found_out_becomes_a_file_where_none_was_made(tmp_path: Path) -> None:
    made = Finished(Result(data={"pages": 3}), (), tmp_path / "1")
    made.folder.mkdir()

    saved = asyncio.run(save(Folder(tmp_path / "out"), item("x/report.pdf"), made))

    assert saved.files[0].output.name == "x/report.pdf.json"
    assert '"pages": 3' in (tmp_path / "out" / "x" / "report.pdf.json").read_text()
