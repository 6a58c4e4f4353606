"""Names of outputs in the job's folder: a client's text made safe to be a file's name."""

import re
import unicodedata

_LONGEST = 150
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\u202a-\u202e\u2066-\u2069]')
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def safe_name(label: str) -> str:
    """Return a file name made of the last part of `label`: no separator, no control character.

    Safe on Linux, macOS and Windows; at most 150 bytes; never empty, `.` or `..`.
    """
    last = re.split(r"[/\\]", label)[-1]
    name = _UNSAFE.sub("_", unicodedata.normalize("NFC", last)).strip(" .")
    name = f"_{name}" if _RESERVED.match(name) else name
    name = name.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    return name or "file"


def output_stem(label: str, suffix: str, taken: set[str]) -> str:
    """Return the stem of an output of the file `label`, different from all in `taken`."""
    name = safe_name(label)
    stem = name.rsplit(".", 1)[0].strip(" .") or name
    wanted = f"{stem}{_UNSAFE.sub('_', suffix)}"
    numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
    return wanted if wanted not in taken else next(name for name in numbered if name not in taken)
