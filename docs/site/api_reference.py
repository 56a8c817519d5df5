"""The reference of Python's names: that each public one is there, once, and as what it is."""

import re
from operator import attrgetter

from mkdocs.plugins import get_plugin_logger

import ttfs_cupy
from ttfs_cupy import plot

NAMED = re.compile(r"^::: ttfs_cupy\.(\S+)$", re.MULTILINE)
# said in words
APART = {"__version__", "plot"}

log = get_plugin_logger("docs/site")


def filled_in(markdown: str) -> str:
    """The page's text, ready for mkdocstrings, which fills in what docstrings say."""
    named = NAMED.findall(markdown)
    public = {*ttfs_cupy.__all__, *(f"plot.{name}" for name in plot.__all__)} - APART
    for name in sorted({*named} ^ public | {name for name in named if named.count(name) > 1}):
        log.warning("python_api.md must have ::: ttfs_cupy.%s once, if and only if it is public", name)
    return NAMED.sub(_as_what_it_is, markdown)


def _as_what_it_is(named: re.Match[str]) -> str:
    """A function that is called as its module needs its full path, since the short one leads to the module."""
    found = attrgetter(named[1])(ttfs_cupy)
    if found.__name__ not in found.__module__.split("."):
        return named[0]
    return f'<span id="ttfs_cupy.{named[1]}"></span>\n\n::: {found.__module__}.{found.__name__}'
