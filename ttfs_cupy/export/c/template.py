"""The files' text, from templates in C: lines of this network's kind, and what is written in places of theirs."""

import re
import string
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib import resources

import numpy as np

# Lines between these are kept if the network is of that kind, and go otherwise; they may lie within others.
_IF, _END = re.compile(r"^ *//if (\w+)$"), "//end"
WIDTH = 120


class _Places(string.Template):
    delimiter = "@"


@cache
def _template(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def filled(name: str, kinds: Collection[str], **values: object) -> str:
    """The template of that name, for a network of these kinds. values: what stands in its places, `@name` or `@{name}`.

    A place in a line by itself is left out with its line where its text is empty.
    """
    lines = list[str]()
    kept = list[bool]()
    for line in _template(name).splitlines():
        if condition := _IF.match(line):
            kept.append(condition[1] in kinds)
        elif line.strip() == _END:
            kept.pop()
        elif all(kept) and not (line.startswith("@") and values.get(line[1:]) == ""):
            lines.append(line)
    return _Places("\n".join(lines) + "\n").substitute({name: str(value) for name, value in values.items()})


def array(c_type: str, name: str, values: np.ndarray) -> str:
    """A constant array. Floats are written so that a compiler reads the same bits again."""
    flat = values.ravel()
    numbers = map(real, flat) if flat.dtype.kind == "f" else map(str, flat.tolist())
    return f"static const {c_type} {name}[{flat.size}] = {{\n{rows(numbers)}\n}};\n"


def rows(items: Iterable[str], indent: str = "    ") -> str:
    """The items with commas, in lines of at most WIDTH characters."""
    lines, line = list[str](), indent
    for item in items:
        if len(line) + len(item) + 1 > WIDTH:
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    return "\n".join([*lines, line.rstrip()])


def real(value: float) -> str:
    """A float32 in C: the shortest decimal that is read as the same."""
    return f"{np.float32(value)!s}f"


def structure(c_type: str, name: str, members: Mapping[str, object]) -> str:
    """A constant structure, its members by name."""
    items = [f".{member} = {value}" for member, value in members.items()]
    return f"static const {c_type} {name} = {{\n{rows(items)}\n}};\n"


def harmless(text: str) -> str:
    """As it may stand in a comment, which nothing in it is to end."""
    return re.sub(r"[^\w ./:+=,@~-]", "?", text, flags=re.ASCII).replace("*/", "??").replace("/*", "??")
