"""Measures what disturbances trained networks bear, as a table and a figure: python -m ttfs_cupy.robustness RUN_DIR.

Spike times that jitter, spikes that get lost, few bits, and corrupted images: each at several levels.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.command import command_line, loudness
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there
from ttfs_cupy.common.files.writing import check_new_folder, make_folder, write_all
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.robustness import figure, table
from ttfs_cupy.robustness.kinds import KINDS, Levels, chosen
from ttfs_cupy.robustness.measurement import measure, passes
from ttfs_cupy.robustness.settings import MeasuredRun, groups
from ttfs_cupy.trained.opening import OpenedRun, check_named_once, open_run

# of a run's directory, by default; and what the files in it are called before their endings
FOLDER = NAME = "robustness"
SEEDS, MOST_SEEDS = 3, 1000

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _robustness(parsed), process_ends=arguments is None, level=parsed.level)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("robustness"), description=__doc__)
    add = parser.add_argument
    parser.add_runs()
    add(
        "-o",
        "--output",
        type=command_line.path,
        metavar="DIR",
        help=f"the folder of {NAME}.csv, .json, .png and .svg (default: {FOLDER}, in the directory of a single run)",
    )
    add("--only", metavar="NAME,NAME", help=f"leaves out all others of {', '.join(KINDS)}")
    add(
        "--levels",
        action="append",
        default=[],
        metavar="NAME=LEVEL,LEVEL",
        help="of one of them, such as jitter=0.01,0.05; may be repeated",
    )
    add("--images", type=int, metavar="N", help="the first N test images (default: all)")
    add("--seeds", type=int, default=SEEDS, metavar="N", help=f"draws noise by seeds 0 to N - 1 (default: {SEEDS})")
    parser.add_device()
    parser.add_overrides("a key of the configs, such as data.root=DIR; may be repeated")
    add("--no-figure", action="store_true", help="write no .png and .svg, which matplotlib draws")
    parser.add_force()
    loudness.add_options(parser, "warnings, errors, and the table")
    return parser


def _robustness(parsed: argparse.Namespace) -> None:
    levels, seeds = chosen(parsed.only, parsed.levels), check_count("--seeds", parsed.seeds, most=MOST_SEEDS)
    if parsed.images is not None:
        check_count("--images", parsed.images)
    check_named_once(parsed.runs)
    folder = _folder(parsed.output, parsed.runs)
    files = {ending: folder / f"{NAME}.{ending}" for ending in ("csv", "json", *figure.FORMATS)}
    _check_files(folder, files, force=parsed.force)
    if not parsed.no_figure:
        figure.require()
    with command_line.readers_may_leave():
        found = groups(_measured(parsed, levels, seeds))
        contents = {"csv": table.csv_text(found).encode(), "json": table.json_text(found).encode()}
        if not parsed.no_figure:
            contents |= figure.pictures(found)
        _write(folder, files, contents)
    for line in table.lines(found):
        logger.info("%s", line, extra=loudness.RESULT)
    logger.info("written to %s: %s", shown_path(folder), ", ".join(files[ending].name for ending in contents))


def _folder(output: Path | None, runs: Sequence[Path]) -> Path:
    if output is not None:
        return output
    if len(runs) > 1:
        raise UserError("of several runs the table belongs to none: name a folder for it with --output")
    return runs[0] / FOLDER


def _check_files(folder: Path, files: Mapping[str, Path], *, force: bool) -> None:
    """Raises UserError where they could not be written, or would take the place of others."""
    if not folder.is_dir():
        if is_there(folder):
            raise UserError(f"'{shown_path(folder)}' is no folder: name another one with --output")
        check_new_folder(folder)
        return
    for file in files.values():
        check_output(file, force=force, other="another folder with --output")


def _measured(parsed: argparse.Namespace, levels: Levels, seeds: int) -> list[MeasuredRun]:
    found: list[MeasuredRun] = []
    total = len(parsed.runs) * passes(levels, seeds)
    with tqdm(total=total, unit="pass", leave=False, disable=loudness.hides_bars()) as bar:
        for path in parsed.runs:
            opened = open_run(path, parsed.set, parsed.device)
            logger.info("%s", _opened(path, opened))
            found.append(_of_run(path, opened, parsed.images, levels, seeds, _Progress(bar).done))
            _check_shapes(found)
    return found


class _Progress:
    """Of one run, on a bar; where there is no terminal, a line as the first pass of each kind is done."""

    def __init__(self, bar: Any):
        self._bar = bar
        self._kind = ""

    def done(self, kind: str) -> None:
        self._bar.set_description(kind, refresh=False)
        self._bar.update()
        if self._bar.disable and kind != self._kind:
            logger.info("  %s", kind)
        self._kind = kind


def _opened(path: Path, opened: OpenedRun) -> str:
    weights, device = opened.weights, opened.experiment.device.description
    known = "" if opened.is_known else f", data unknown to the run, which has no {opened.run.split.name}"
    return f"{shown_path(path)}: weights of epoch {weights.epoch}, {opened.network.precision}, {device}{known}"


def _of_run(
    path: Path, opened: OpenedRun, images: int | None, levels: Levels, seeds: int, done: Callable[[str], None]
) -> MeasuredRun:
    network, experiment = opened.network, opened.experiment
    measured = measure(network, opened.first_images(images), levels, seeds, done)
    description = experiment.device.description
    made_with = (opened.weights.epoch, description, network.precision)
    return MeasuredRun(str(path), experiment.config, *made_with, measured, _images_of(experiment.fingerprint))


def _images_of(fingerprint: Mapping[str, Any]) -> str:
    """What tells the images and their labels from others; not which were used or held out."""
    images = {key: value for key, value in fingerprint.items() if key not in ("held_out", "subset")}
    return json.dumps(images, sort_keys=True)


def _check_shapes(found: Sequence[MeasuredRun]) -> None:
    """Raises UserError for runs whose test sets have not as many images."""
    first, last = found[0], found[-1]
    if first.measured.images != last.measured.images:
        raise UserError(
            f"'{first.name}' has {first.measured.images} test images, and '{last.name}' {last.measured.images}: runs "
            "of one table need as many, so add --images"
        )


def _write(folder: Path, files: Mapping[str, Path], contents: Mapping[str, bytes]) -> None:
    """All of them, or none where one cannot be written. A figure that is there, and is not drawn now, goes: it would be
    of other numbers. Raises UserError."""
    make_folder(folder)
    write_all({files[ending]: content for ending, content in contents.items()})
    for ending in files.keys() - contents.keys():
        try:
            files[ending].unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{files[ending]} is of an earlier call, and cannot be removed: {error.strerror}") from None
