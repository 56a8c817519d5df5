"""Counts a run's operations on its test images, and what they cost in energy: python -m ttfs_cupy.energy RUN_DIR."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common.command import command_line, loudness
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import check_picture, write_all
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.energy import table
from ttfs_cupy.energy.costs import ACCESS, MEMORY
from ttfs_cupy.energy.counting import count_operations
from ttfs_cupy.energy.figure import picture
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.plot.canvas import matplotlib
from ttfs_cupy.trained.opening import open_run

logger = logging.getLogger("ttfs_cupy")

STDOUT = Path("-")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    # of JSON on the standard output nothing else may stand there
    level = logging.ERROR if parsed.json == STDOUT else parsed.level
    return command_line.run(lambda: _energy(parsed), process_ends=arguments is None, level=level)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("energy"), description=__doc__)
    add = parser.add_argument
    parser.add_run()
    add("--images", type=int, metavar="N", help="the first N test images (default: all of them)")
    add("--memory", choices=list(ACCESS), default=MEMORY, help=f"what weights and states lie in (default: {MEMORY})")
    add("--json", type=command_line.path, metavar="FILE", help="write the numbers there; - is the standard output")
    add("--plot", type=command_line.path, metavar="FILE", help="draw the energy of each layer: a PNG file")
    parser.add_force()
    parser.add_device()
    parser.add_epoch()
    parser.add_overrides("a key of the config, such as data.root=DIR")
    loudness.add_options(parser, "warnings, errors, and the table")
    return parser


def _energy(parsed: argparse.Namespace) -> None:
    _check_files(parsed)
    opened = open_run(parsed.run, parsed.set, parsed.device, parsed.epoch)
    found = count_operations(opened.network, opened.first_images(parsed.images))
    text = json.dumps({"epoch": opened.weights.epoch, **table.content(found, parsed.memory)}, indent=1)
    contents: dict[Path, bytes] = {}
    if parsed.json is not None and parsed.json != STDOUT:
        contents[parsed.json] = f"{text}\n".encode()
    if parsed.plot is not None:
        contents[parsed.plot] = picture(found, parsed.memory)
    # before anything is said: whoever reads that may leave
    write_all(contents)
    if parsed.json == STDOUT:
        command_line.say(text)
    logger.info("weights        %s, epoch %d", opened.path, opened.weights.epoch)
    logger.info("test images    %d, accuracy %.2f %%", found.images, 100 * found.accuracy)
    logger.info("psp_slope      %g", found.psp_slope)
    for line in ("", *table.lines(found, parsed.memory)):
        logger.info("%s", line, extra=loudness.RESULT if parsed.json != STDOUT else {})


def _check_files(parsed: argparse.Namespace) -> None:
    """Before anything is computed: whether the files can be written, and the picture drawn."""
    if parsed.plot is not None:
        check_picture("--plot", parsed.plot)
        matplotlib("figure")
    for file in (parsed.json, parsed.plot):
        if file is not None and file != STDOUT:
            check_output(file, force=parsed.force)
    if parsed.json is not None and parsed.plot is not None and parsed.json.resolve() == parsed.plot.resolve():
        raise UserError(f"--json and --plot '{shown_path(parsed.plot)}' are one file: name two")
