"""File names as clients write them, made into labels: shown and offered, never opened."""

import re
import unicodedata
from urllib.parse import quote

_PLAIN = re.compile(r"[\w-][\w .()+,@&=#-]{0,200}(/[\w-][\w .()+,@&=#-]{0,200}){0,3}", re.ASCII)
_UNSENDABLE = re.compile(r"[^A-Za-z0-9!#$&+.^_`|~ ()-]")
_DRIVES = re.compile(r"^([A-Za-z]:)+")
_SUFFIX = re.compile(r"\.\w{1,16}$")
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_LOOKED_AT_CHARACTERS = 4_000
_LABEL_CHARACTERS = 1_000
_WORD_BYTES = 240


def label(name: str, *, unnamed: str = "unnamed") -> str:
    """Return `name` as a relative path that is safe to show, to store and to unpack below a folder.

    Slashes separate folders; drives, leading slashes, `.` and `..` are dropped; characters that
    steer a terminal or the direction of text become `_`; what is too long for a file system is
    shortened before its extension. A label's label is itself.
    """
    if _PLAIN.fullmatch(name):
        return name
    text = "".join(map(_harmless, name[-_LOOKED_AT_CHARACTERS:]))
    words = unicodedata.normalize("NFC", text).replace("\\", "/").split("/")
    shortened = (_shorten(_DRIVES.sub("", word, count=1)) for word in words)
    return _last_words([word for word in shortened if word.strip(" .")]) or unnamed


def disposition(name: str) -> str:
    """Return Content-Disposition as RFC 6266 has it: a plain name, and the true one beside it."""
    last = name.rpartition("/")[2] or "file"
    plain = _UNSENDABLE.sub("_", last)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='')}"


def _harmless(character: str) -> str:
    return "_" if unicodedata.category(character) in _STEERING else character


def _shorten(word: str) -> str:
    if len(word.encode()) <= _WORD_BYTES:
        return word
    suffix = _SUFFIX.search(word)
    end = suffix.group() if suffix else ""
    room = _WORD_BYTES - len(end.encode())
    return word.encode()[:room].decode(errors="ignore") + end


def _last_words(words: list[str]) -> str:
    """Join as many words as fit, the last ones."""
    kept: list[str] = []
    room = _LABEL_CHARACTERS
    for word in reversed(words):
        room -= len(word) + 1
        if room < 0:
            break
        kept.append(word)
    return "/".join(reversed(kept))
