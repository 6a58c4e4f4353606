"""Blocks of metadata: well formed whatever a model has written."""

from typing import Any
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from batchmill.operations.vision import reading
from batchmill.operations.vision.packets import packets

LINE = st.text(min_size=1).map(lambda text: reading.plain(text, 300)).filter(bool)


@given(
    st.fixed_dictionaries(
        {
            "title": LINE,
            "description": LINE,
            "keywords": st.lists(LINE, max_size=5),
            "category": LINE | st.just(""),
            "alt_text": LINE,
            "language": st.sampled_from(["en", "pt-BR", ""]),
        }
    )
)
def test_xmp_is_xml_that_holds_the_texts_and_iptc_has_its_lengths(
    described: dict[str, Any],
) -> None:
    found = packets(described)

    tree = ElementTree.fromstring(found.xmp.decode())  # noqa: S314 - our own
    texts = [each.text for each in tree.iter() if each.text]
    assert described["title"] in texts
    assert described["alt_text"] in texts
    assert set(described["keywords"]) <= set(texts)
    assert (
        _titles(found.iptc)[0].encode()
        == described["title"].encode()[:64].decode(errors="ignore").encode()
    )


def _titles(block: bytes) -> list[str]:
    """Return the titles in an IPTC block, walking its datasets as a reader does."""
    at = block.index(b"8BIM") + 12
    found = []
    while block[at : at + 1] == b"\x1c":
        number, length = block[at + 2], int.from_bytes(block[at + 3 : at + 5], "big")
        if number == 5:
            found.append(block[at + 5 : at + 5 + length].decode())
        at += 5 + length
    return found
