"""Docstrings as Markdown: what they say of a parameter begins a line, and the pages that they name are linked.

Defaults that are names of constants become their values.
"""

import re
from pkgutil import resolve_name
from typing import Any

import griffe

PAGE = re.compile(r"\bdocs/(\w+)\.md\b")
# at the start of a line or a sentence: "mean, std: (channels,), for ..."
MEANING = re.compile(r"(?:^|(?<=[.)] ))(\w+(?:, \w+| and \w+)*): ", re.MULTILINE)
RAISES = re.compile(r"\s+(?=Raises \w+Error)")


class Readable(griffe.Extension):
    """Changes docstrings as they are read from the package."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Of a function, what it says of its parameters, and their defaults."""
        for parameter in func.parameters:
            if isinstance(parameter.default, griffe.ExprName) and parameter.default.name.isupper():
                parameter.default = _value(parameter.default)
        _change(func, {parameter.name for parameter in func.parameters})

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Of an attribute or a property, what it links to."""
        _change(attr, set())

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Of a class, what it says of its attributes, and of what makes it."""
        made = cls.members.get("__init__")
        parameters = {one.name for one in made.parameters} if isinstance(made, griffe.Function) else set()
        _change(cls, {*cls.members, *parameters})


def _value(constant: griffe.ExprName) -> str | griffe.ExprName:
    """As it is written in Python; what is no number or text keeps its name."""
    path = constant.canonical_path
    # without its module, a name that griffe cannot follow
    value = resolve_name(path) if "." in path else None
    return repr(value) if isinstance(value, (str, int, float)) else constant


def _change(found: griffe.Object, names: set[str]) -> None:
    if found.docstring is None:
        return

    def meaning(match: re.Match[str]) -> str:
        if not set(re.split(r", | and ", match[1])) <= names:
            return match[0]
        words = re.sub(r"(\w+)(?=, | and |$)", r"`\1`", match[1])
        return f"\n\n{words}: "

    text = RAISES.sub("\n\n", MEANING.sub(meaning, found.docstring.value))
    found.docstring.value = PAGE.sub(r"[\1](\1.md)", text)
