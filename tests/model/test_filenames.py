"""Labels: whatever a client calls its file, the label is harmless and stays itself."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchmill.model.filenames import label

HOSTILE = st.text(alphabet=st.sampled_from("aC:/\\. ~é\u0301\u202e\0\r\n\x7f中"), max_size=40)


@given(name=HOSTILE | st.text(max_size=3000))
@example(name="../" * 400 + "etc/passwd")
@example(name="C:/D:/x")
def test_a_label_never_climbs_never_steers_and_fits_a_file_system(name: str) -> None:
    words = label(name).split("/")
    assert all(word.strip(" .") and len(word.encode()) <= 240 for word in words)
    assert not any(
        unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in "".join(words)
    )
    assert "\\" not in label(name)
    assert len(label(name)) <= 1000


@given(name=HOSTILE | st.text(max_size=3000))
def test_the_label_of_a_label_is_itself(name: str) -> None:
    assert label(label(name)) == label(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("holiday/IMG_0001 (2).jpg", "holiday/IMG_0001 (2).jpg"),
        ("Zürich/été.png", "Zürich/été.png"),
        ("e\u0301te\u0301.png", "été.png"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        (r"C:\Users\me\scan.pdf", "Users/me/scan.pdf"),
        ("a/./b//c.jpg", "a/b/c.jpg"),
        (".hidden", ".hidden"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("a\r\nSet-Cookie: x", "a__Set-Cookie: x"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("é" * 200 + ".jpeg", "é" * 117 + ".jpeg"),
    ],
)
def test_names_keep_what_people_recognise(name: str, expected: str) -> None:
    assert label(name) == expected
