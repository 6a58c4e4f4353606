"""Whose fault an error is: the file's, or that of a machine that has no more memory for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from batchmill.model.limits import Limits
from batchmill.operations.images.codec.damage import translated
from support.pictures import scene

PROGRAM = """
import resource, sys
from pathlib import Path
import batchmill.operations.images.codec.encode
from support.pictures import refused
used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000,) * 2)
print(refused(Path(sys.argv[1]), [('convert', {'format': 'jpeg'})]))
"""


def test_a_progressive_jpeg_for_which_there_is_no_memory_is_not_called_damaged(
    tmp_path: Path,
) -> None:
    scene(6000, 4000).jpegsave(str(tmp_path / "in.jpg"), interlace=True)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "in.jpg")]
    tests = Path(__file__).parents[3]

    done = subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False)

    assert done.stdout == "out_of_memory\n", done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "unable to call jpegsave\n  VipsJpeg: Insufficient memory (case 4)\n",
        "heif: Memory allocation error: Unspecified: Allocating 72000015 bytes failed (6.0)\n",
        "unable to call tiffsave\n  glib: Error creating thread: Resource temporarily unavailable",
        "vips_tracked: out of memory -- size 134MB",
    ],
)
def test_what_libraries_say_without_memory_is_not_the_files_fault(text: str) -> None:
    error = translated(OSError(text), "a.jpg", "convert", Limits())

    assert error.code == "out_of_memory"


@pytest.mark.parametrize(
    "text",
    [
        "tiff2vips: out of memory reading of Photoshop",
        "heif: Memory allocation error: Security limit exceeded: 40000x40000 pixels (6.1000)",
        "VipsJpeg: Corrupt JPEG data: bad Huffman code",
    ],
)
def test_a_file_that_asks_for_absurd_memory_is_damaged(text: str) -> None:
    error = translated(OSError(text), "a.jpg", "open", Limits())

    assert error.code == "unreadable_file"
