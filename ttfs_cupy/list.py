"""Lists what there is to name, a line each: python -m ttfs_cupy.list configs."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.list()

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import resources

from ttfs_cupy import models
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.data.augmentation import AUGMENTATIONS, OPERATIONS
from ttfs_cupy.data.sources.datasets import DATASETS, Source
from ttfs_cupy.experiment.config import text as config_text

# a name, and what is said of it
Lines = Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _show(parsed.topic), process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    made = command_line.Parser(prog=called("list"), description=__doc__)
    made.add_argument("topic", nargs="?", choices=list(TOPICS), metavar="TOPIC", help=f"one of {', '.join(TOPICS)}")
    return made


def names(topic: str) -> list[str]:
    """The names of a topic of TOPICS."""
    return list(TOPICS[topic][1]())


def _show(topic: str | None) -> None:
    lines = {name: line for name, (line, _) in TOPICS.items()} if topic is None else TOPICS[topic][1]()
    command_line.say(*_rows(lines, aligned=sys.stdout.isatty()))


def _rows(lines: Lines, *, aligned: bool) -> Iterable[str]:
    """aligned: for people; else a tab follows each name, by which `cut -f1` knows it."""
    widest = max(map(len, lines))
    return (f"{name:{widest}}  {line}" if aligned else f"{name}\t{line}" for name, line in lines.items())


def _configs() -> Lines:
    return _bundled(config_text.BUNDLED, config_text.names())


def _models() -> Lines:
    return _bundled(models.__name__, models.names())


def _bundled(package: str, stems: Iterable[str]) -> Lines:
    """YAML files, with what the comment at the beginning of each says in its first line."""
    found = {stem: resources.files(package).joinpath(f"{stem}.yaml").read_text("utf-8") for stem in stems}
    return {stem: text.split("\n")[0].removeprefix("#").strip() for stem, text in found.items()}


def _datasets() -> Lines:
    return {name: _images(source) for name, source in DATASETS.items()}


def _images(source: Source) -> str:
    if source.shape is None:
        # as found: its reader says what that is
        return _first_sentence(inspect.getmodule(source.read))
    height, width, channels = source.shape
    return f"{height} x {width} pixels, {channels} channel{'s' * (channels > 1)}, {source.classes} classes"


def _augmentations() -> Lines:
    # as a list of operations, which the name stands for
    unnamed = {name: str(replace(one, called="")) for name, one in AUGMENTATIONS.items()}
    return {name: "nothing is drawn" if operations == "[]" else operations for name, operations in unnamed.items()}


def _operations() -> Lines:
    return {name: _first_sentence(kind) for name, kind in OPERATIONS.items()}


def _algorithms() -> Lines:
    return {name: _first_sentence(inspect.getmodule(kind)) for name, kind in algorithms().items()}


def _first_sentence(thing: object) -> str:
    """Of a docstring."""
    paragraph = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    # no sentence ends with "et al."
    return re.split(r"(?<!\bal)\. ", paragraph)[0].removesuffix(".")


# what each topic's names are, and where they come from
TOPICS: dict[str, tuple[str, Callable[[], Lines]]] = {
    "configs": ("bundled experiments, for train and preview", _configs),
    "models": ("bundled networks, for network.model", _models),
    "datasets": ("data sets, for data.dataset", _datasets),
    "augmentations": ("named augmentations, for data.augment", _augmentations),
    "operations": ("what a list in data.augment may hold, policies among them", _operations),
    "algorithms": ("ways to convolve, for network.convolution", _algorithms),
}
