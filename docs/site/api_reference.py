"""The reference of Python's names: that each public one is there, once."""

import re

from mkdocs.plugins import get_plugin_logger

import ttfs_cupy
from ttfs_cupy import plot

NAMED = re.compile(r"^::: ttfs_cupy\.(\S+)$", re.MULTILINE)
# said in words
APART = {"__version__", "plot"}

log = get_plugin_logger("docs/site")


def filled_in(markdown: str) -> str:
    """The page's text, as it is: what docstrings say is mkdocstrings' to fill in."""
    named = NAMED.findall(markdown)
    public = {*ttfs_cupy.__all__, *(f"plot.{name}" for name in plot.__all__)} - APART
    for name in sorted({*named} ^ public | {name for name in named if named.count(name) > 1}):
        log.warning("python_api.md must have ::: ttfs_cupy.%s once, if and only if it is public", name)
    return markdown
