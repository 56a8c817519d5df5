"""Reading no more than a file can hold: what it says of its size is not believed."""

from __future__ import annotations

from gzip import GzipFile
from typing import IO

# the most that deflate makes of a byte
LARGEST_RATIO = 1032
# bytes that are asked for at once
PIECE = 1 << 20


def read_content(file: IO[bytes] | GzipFile, size: int) -> tuple[bytearray, bool]:
    """The next `size` bytes, or as many as there are, and whether there are more. Memory is taken as they come.

    Of what is packed the end is looked for, where a checksum is: a damaged one raises as the file does.
    """
    content = bytearray()
    while piece := file.read(min(PIECE, size - len(content))):
        content += piece
    return content, bool(file.read(1))
