"""Makes an HTML page of a run, or of several side by side: python -m ttfs_cupy.report RUN_DIR... -o FILE.html."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.device import get_device
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.experiment.files.run_directory import OWN_WEIGHTS
from ttfs_cupy.report import page, several, single
from ttfs_cupy.report.gathering.reading import RunFiles, read
from ttfs_cupy.trained.opening import check_named_once

SUFFIXES = (".html", ".htm")
IMAGES, MOST_IMAGES = 12, 100

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _report(parsed), process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("report"), description=__doc__)
    add = parser.add_argument
    parser.add_runs()
    add(
        "-o",
        "--output",
        type=command_line.path,
        default=Path("report.html"),
        metavar="FILE",
        help="an HTML file (default: report.html)",
    )
    add(
        "--images",
        type=int,
        default=IMAGES,
        metavar="N",
        help=f"how many wrong predictions are shown, 0 to {MOST_IMAGES} (default: {IMAGES})",
    )
    parser.add_device()
    parser.add_overrides("a key of the config, such as data.root=DIR")
    parser.add_force()
    return parser


def _report(parsed: argparse.Namespace) -> None:
    output: Path = parsed.output
    images = check_count("--images", parsed.images, least=0, most=MOST_IMAGES)
    _check_output(output, force=parsed.force)
    page.check_libraries()
    runs = [read(path) for path in parsed.runs]
    check_named_once(one.run.path for one in runs)
    if len(runs) > 1:
        if parsed.set or parsed.device:
            raise UserError("--set and --device are of one run's network, which a page of several does not look at")
        content, troubles = several.page(runs)
    else:
        _check_options(runs[0], parsed)
        content, troubles = single.page(runs[0], parsed.set, parsed.device, images)
    write_atomically(output, content)
    for sentence in troubles:
        logger.warning("warning: %s", sentence.removesuffix("."))
    named = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    command_line.say(f"{output}: {named}, {len(content) / 1e6:.2f} MB")


def _check_output(output: Path, *, force: bool) -> None:
    if output.suffix.lower() not in SUFFIXES:
        raise UserError(
            f"--output makes an HTML page, so its name has to end in .html, not '{shown_path(output.name)}'"
        )
    check_output(output, force=force)


def _check_options(files: RunFiles, parsed: argparse.Namespace) -> None:
    """What the user asks for and cannot have ends the command, where what a run lacks is told in its page."""
    if files.config is None or not (parsed.set or parsed.device):
        return
    config = load_config(files.run.config, [OWN_WEIGHTS, *parsed.set], {"device": parsed.device})
    if parsed.device:
        get_device(config.device, config.threads)
