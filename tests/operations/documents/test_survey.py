"""Encodings, and lines without end."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.documents.survey import LineMeter
from support.documents import analysed

RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 20
GERMAN = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 20


@given(
    st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"\r", b"ccc"]), max_size=60),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_a_line_is_found_too_long_wherever_blocks_are_cut(
    parts: list[bytes], limit: int, block: int
) -> None:
    content = b"".join(parts)
    meter, block = LineMeter(limit), min(block, limit)
    blocks = [content[at : at + block] for at in range(0, len(content), block)]
    longest = max(map(len, content.replace(b"\r", b"\n").split(b"\n")))
    assert any(meter.exceeds(each) for each in blocks) == (longest > limit)


@pytest.mark.parametrize(
    ("text", "codec", "found"),
    [
        (RUSSIAN, "utf-8", "utf-8"),
        (RUSSIAN, "utf-8-sig", "utf-8-sig"),
        (RUSSIAN, "utf-16", "utf-16"),
        (RUSSIAN, "cp1251", "cp1251"),
        (RUSSIAN, "koi8-r", "koi8-r"),
        (GERMAN, "cp1252", "cp1252"),
        ("plain", "ascii", "utf-8"),
    ],
)
def test_text_is_decoded_by_mark_or_content(
    tmp_path: Path, text: str, codec: str, found: str
) -> None:
    document = analysed(tmp_path, text.encode(codec)).document
    assert document["encoding"] == found
    assert document["text"]["characters"] == len(text)
    assert document["warnings"] == []


def test_one_broken_byte_does_not_turn_utf8_into_something_else(tmp_path: Path) -> None:
    content = GERMAN.encode() + b"\xff" + GERMAN.encode()
    document = analysed(tmp_path, content).document
    assert document["encoding"] == "utf-8"
    assert document["warnings"] == ["some characters are not utf-8 and were replaced"]


def test_a_character_cut_at_the_end_is_said(tmp_path: Path) -> None:
    document = analysed(tmp_path, (GERMAN * 9).encode() + "ß".encode()[:1]).document
    assert document["warnings"] == ["some characters are not utf-8 and were replaced"]


def test_binary_data_after_a_harmless_start_is_refused(tmp_path: Path) -> None:
    content = b"name,price\nbread,1\n" * 300 + b"\x00\x01\x02"
    assert analysed(tmp_path, content, name="a.csv").error == (
        "unreadable_file",
        "a.csv cannot be read: it holds binary data, not text",
    )
