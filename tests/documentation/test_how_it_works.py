"""docs/how_it_works.md quotes the code: each block stands, line by line, in the file that is named above it."""

import re
import textwrap

import pytest
from helpers.environments import REPOSITORY

PAGE = (REPOSITORY / "docs" / "how_it_works.md").read_text()
# py, not python: a quotation is no example that could be run
BLOCK = re.compile(r"^```(?:cpp|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"\[`((?:ttfs_cupy|data|models)/[\w/]+\.(?:cu|cpp|h|py))`\]\(\.\./\1\)")


def quotations() -> list[tuple[str, str]]:
    """Each block with the last file that was named above it."""
    found = []
    for block in BLOCK.finditer(PAGE):
        named = NAMED.findall(PAGE[: block.start()])
        found.append((named[-1], block[1]))
    return found


@pytest.mark.parametrize(("file", "lines"), quotations())
def test_a_quotation_stands_in_its_file(file: str, lines: str) -> None:
    # as a whole and from the start of a line; only how deep it is indented may change
    source = (REPOSITORY / file).read_text().splitlines()
    wanted = textwrap.dedent(lines).splitlines()
    places = range(len(source) - len(wanted) + 1)
    assert any(
        textwrap.dedent("\n".join(source[place : place + len(wanted)])).splitlines() == wanted for place in places
    ), f"{file} no longer has:\n{lines}"


def test_every_part_of_the_model_is_quoted() -> None:
    files = {file.rpartition("/")[2] for file, _ in quotations()}
    assert {"encoding.py", "direct.cu", "neuron.h", "pooling.cu", "neuron.cu", "cross_entropy.h"} <= files
    assert {"standardized_weights.cu", "optimizer.cu", "decide_update.h"} <= files


def test_every_function_that_is_named_beside_a_file_is_there() -> None:
    pairs = re.findall(rf"{NAMED.pattern},\s`([\w.]+)`", PAGE)
    assert len(pairs) > 10
    missing = [(file, name) for file, name in pairs if name.split(".")[-1] not in (REPOSITORY / file).read_text()]
    assert missing == []
