"""Python 3.10 imports what is written on a later one. The style and type checks see syntax and names that it lacks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.environments import CODE, REPOSITORY

# Classes of the standard library learn to be subscripted one by one: logging.StreamHandler in Python 3.11.
SUBSCRIPTED = {"Generic", "Protocol"}


def subscripted_bases(text: str) -> Iterator[str]:
    """What classes derive from with types in brackets, which are evaluated as a module is imported."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            yield from (ast.unparse(base.value) for base in node.bases if isinstance(base, ast.Subscript))


def test_bases_are_found() -> None:
    text = "class A(B[int], C):\n    class D(logging.StreamHandler[str]): x: E[int]"
    assert list(subscripted_bases(text)) == ["B", "logging.StreamHandler"]


@pytest.mark.parametrize("folder", CODE)
def test_no_class_derives_from_what_later_pythons_subscript(folder: str) -> None:
    found: dict[Path, set[str]] = {}
    for path in (REPOSITORY / folder).rglob("*.py"):
        if others := set(subscripted_bases(path.read_text())) - SUBSCRIPTED:
            found[path] = others
    assert not found
