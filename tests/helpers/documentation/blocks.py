"""The code blocks of a page of docs/."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r'^( *)```(\w*)(?: no-run="([^"]*)")?$')
SAVED = re.compile(r"[Ss]ave (?:this|it) as `([\w.-]+)`")


@dataclass(frozen=True)
class Block:
    """page: the file. line: of its first line of code, from 1. reason: why it is not run, or empty."""

    page: Path
    line: int
    language: str
    code: str
    reason: str
    # the file that the sentence above has the reader make of it
    saved_as: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """In the page's order. Raises AssertionError for a fence that is none of these."""
    lines = page.read_text("utf-8").splitlines()
    opened: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("```"):
            continue
        fence = FENCE.match(line)
        assert fence, f"{page.name}:{number}: {line} is no fence that is understood"
        if opened is None:
            opened = (number, fence[2], fence[3] or "")
        else:
            first, language, reason = opened
            code = textwrap.dedent("\n".join(lines[first : number - 1]))
            saved = SAVED.search(" ".join(lines[max(0, first - 4) : first - 1]))
            yield Block(page, first + 1, language, code, reason, saved[1] if saved else "")
            opened = None
    assert opened is None, f"{page.name}: a block does not end"


def command_lines(block: Block) -> Iterator[tuple[int, str]]:
    """Of a block for a shell each command, with the number of its line; what ends in a backslash goes on."""
    begun, first = "", 0
    for number, line in enumerate(block.code.splitlines(), block.line):
        first = first if begun else number
        begun += line.removesuffix("\\")
        if not line.endswith("\\"):
            if begun.strip() and not begun.lstrip().startswith("#"):
                yield first, begun.strip()
            begun = ""
    assert not begun, f"{block.place}: the last line goes on"
