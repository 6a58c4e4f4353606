import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.attempt.naming import Facts, output_name, safe_path

FACTS = Facts(source="holiday/beach/cat.png", made="cat.webp", index=3, width=640, height=480)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{dir}/{stem}.{ext}", "holiday/beach/cat.webp"),
        ("{stem}-{w}x{h}.{ext}", "cat-640x480.webp"),
        ("{index}/{name}", "3/cat.png"),
        ("out/{stem}.{nothing}", "out/cat.{nothing}"),
        ("{stem.__class__}", "{stem.__class__}"),
        ("../../{stem}.{ext}", "cat.webp"),
        ("/etc/{stem}", "etc/cat"),
        ("{dir}/..", "holiday/beach"),
    ],
)
def test_template_is_filled(template: str, name: str) -> None:
    assert output_name(template, FACTS) == name


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("..\\..\\windows\\system.ini", "windows/system.ini"),
        ("C:\\photos\\cat.jpg", "photos/cat.jpg"),
        ("//server/share/cat.jpg", "server/share/cat.jpg"),
        ("a\nb\x00c.jpg", "a_b_c.jpg"),
        ("CON.txt", "_CON.txt"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("trailing. ", "trailing"),
        ("...", "file"),
        ("", "file"),
        ("cafe\u0301.jpg", "café.jpg"),
    ],
)
def test_text_of_clients_becomes_a_safe_path(text: str, path: str) -> None:
    assert safe_path(text) == path


@given(st.text(max_size=300), st.text(max_size=60), st.text(max_size=60))
def test_no_name_leaves_its_folder(template: str, source: str, made: str) -> None:
    name = output_name(template, Facts(source=source, made=made))
    parts = PurePosixPath(name).parts
    assert not name.startswith("/")
    assert parts
    assert not {"..", "."} & set(parts)
    assert "\\" not in name
    assert not {"Cc", "Cs", "Zl", "Zp"} & {unicodedata.category(each) for each in name}
    assert all(len(part.encode()) <= 255 for part in parts)
    assert Path("/out", name).resolve().is_relative_to("/out")


@given(st.text(min_size=1, max_size=300))
def test_safe_path_is_stable(text: str) -> None:
    assert safe_path(safe_path(text)) == safe_path(text)


def test_names_are_unique_whatever_their_case() -> None:
    taken = set[str]()
    names = []
    for made in ("cat.jpg", "Cat.jpg", "CAT.JPG"):
        name = output_name("{stem}.{ext}", Facts(source="x", made=made), taken)
        taken.add(name.casefold())
        names.append(name)
    assert names == ["cat.jpg", "Cat-2.jpg", "CAT-3.JPG"]


def test_extension_survives_a_name_that_is_too_long() -> None:
    assert safe_path("ä" * 300 + ".jpeg").endswith("ä.jpeg")
