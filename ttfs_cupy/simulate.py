"""Simulates a trained network in discrete time, beside the closed form: python -m ttfs_cupy.simulate RUN_DIR."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.simulate()

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.command import command_line, loudness
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_all
from ttfs_cupy.common.shown import shown, shown_path
from ttfs_cupy.data import Batches
from ttfs_cupy.experiment.files.outputs import check_output
from ttfs_cupy.plot.canvas import matplotlib
from ttfs_cupy.simulation import report
from ttfs_cupy.simulation.convergence import row_of
from ttfs_cupy.simulation.passes import SideBySide, images_at_once, side_by_side, steps_of
from ttfs_cupy.simulation.progress import progress
from ttfs_cupy.simulation.simulator import DTYPES, Simulator
from ttfs_cupy.simulation.time_grid import TimeGrid, time_grid
from ttfs_cupy.simulation.trace import picture, traced
from ttfs_cupy.trained.opening import OpenedRun, open_run

IMAGES = 1000
# of a window
STEPS = 1000
PICTURES = (".png", ".svg")

DISAGREES = 1

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 if the simulation agrees with the closed form, 1 if it does not."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _simulate(parsed), process_ends=arguments is None, level=parsed.level)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("simulate"), description=__doc__)
    add = parser.add_argument
    parser.add_run()
    add("--dt", type=float, metavar="DT", help="the time step, in the time of t_win (default: a thousandth of it)")
    add("--convergence", metavar="DT,DT,...", help="compare several time steps, such as 1e-2,1e-3,1e-4")
    add("--images", type=int, metavar="N", help=f"the first N of the test set (default: {IMAGES}, or all)")
    add("--dtype", choices=sorted(DTYPES), default="float32", help="of membranes and time (default: float32)")
    add("--json", type=command_line.path, metavar="FILE", help="write all that was found there")
    add(
        "--plot", type=command_line.path, metavar="FILE", help="draw a neuron's membrane potential: a .png or .svg file"
    )
    add("--neuron", metavar="LAYER[:NUMBER]", help="the one to draw (default: one that spikes inside its window)")
    add("--image", type=int, metavar="N", help="the test image to draw it for (default: 0, the first)")
    parser.add_force()
    parser.add_device()
    parser.add_overrides("a key of the config, such as data.root=DIR")
    loudness.add_options(parser, "warnings, errors, and whether the two agree")
    return parser


def _simulate(parsed: argparse.Namespace) -> int:
    _check(parsed)
    opened = open_run(parsed.run, parsed.set, parsed.device)
    network, test = opened.network, opened.experiment.test
    grids = _grids(parsed, network.t_win)
    first = opened.first_images(min(IMAGES, len(test.images)) if parsed.images is None else parsed.images).images
    images = len(first)
    _tell_run(opened, images)
    contents = {} if parsed.plot is None else {parsed.plot: _picture(parsed, opened, grids[0])}
    size = images_at_once(network, min(test.batch_size, images), max(grid.window for grid in grids))
    batches = Batches(first, size, encode=network.encoder)
    results = []
    with progress(sum(steps_of(network, images, grid) for grid in grids)) as done:
        for grid in grids:
            logger.info("time           %s", report.grid_line(grid, parsed.dtype))
            results.append(side_by_side(network, batches, grid, parsed.dtype, done))
    rows = [row_of(result) for result in results]
    if parsed.json is not None:
        of_run = {"run": str(parsed.run), "epoch": opened.weights.epoch, "images": images}
        contents[parsed.json] = report.as_json(results, rows, of_run)
    # before it is told: whoever reads that may leave
    write_all(contents)
    if len(grids) == 1:
        _tell(results[0])
    if len(rows) > 1:
        for line in report.convergence_table(rows):
            logger.info("%s", line)
    agrees = all(result.agrees for result in results)
    logger.log(logging.INFO if agrees else logging.ERROR, "%s", report.verdict(results), extra=loudness.RESULT)
    return 0 if agrees else DISAGREES


def _check(parsed: argparse.Namespace) -> None:
    """What can be refused before anything is loaded."""
    if parsed.dt is not None and parsed.convergence is not None:
        raise UserError("--dt is one time step and --convergence several: leave one of them out")
    if parsed.plot is None and (parsed.neuron is not None or parsed.image is not None):
        raise UserError("--neuron and --image say what --plot draws: name its file, as --plot neuron.png")
    for option, file in (("--json", parsed.json), ("--plot", parsed.plot)):
        if file is None:
            continue
        if option == "--plot" and file.suffix not in PICTURES:
            raise UserError(f"--plot must end in {' or '.join(PICTURES)}, not '{shown_path(file)}'")
        check_output(file, force=parsed.force)
    if parsed.plot is not None:
        matplotlib("figure")
        if parsed.json is not None and parsed.json.resolve() == parsed.plot.resolve():
            raise UserError(f"--json and --plot are one file, '{shown_path(parsed.plot)}': name two")


def _grids(parsed: argparse.Namespace, t_win: float) -> list[TimeGrid]:
    if parsed.convergence is None:
        return [time_grid(t_win, t_win / STEPS if parsed.dt is None else parsed.dt)]
    try:
        steps = [float(part) for part in parsed.convergence.split(",")]
    except ValueError:
        raise UserError(
            f"--convergence must be time steps, such as 1e-2,1e-3, not {shown(parsed.convergence)}"
        ) from None
    grids = [time_grid(t_win, step, "--convergence") for step in steps]
    if len({grid.window for grid in grids}) < max(2, len(grids)):
        raise UserError(f"--convergence must be two or more different time steps, not {shown(parsed.convergence)}")
    return grids


def _picture(parsed: argparse.Namespace, opened: OpenedRun, grid: TimeGrid) -> bytes:
    test, network = opened.experiment.test, opened.network
    image = check_count("--image", parsed.image or 0, least=0, most=len(test.members) - 1)
    one = Batches(test.images, 1, encode=network.encoder, members=test.members[image : image + 1])
    (batch,) = one.epoch(0, network.device)
    trace = traced(Simulator(network, grid, parsed.dtype), batch.inputs, parsed.neuron)
    title = f"{trace.layer}, neuron {trace.neuron}, test image {image}, steps of {grid.dt:g}"
    logger.info("drawn          %s: %s", shown_path(parsed.plot), title)
    return picture(trace, title, Path(parsed.plot).suffix)


def _tell_run(opened: OpenedRun, images: int) -> None:
    logger.info("device         %s (%s)", opened.experiment.device.description, opened.experiment.device_reason)
    logger.info("weights        %s, epoch %d", opened.path, opened.weights.epoch)
    logger.info("test images    %d", images)
    if code := report.code_of(opened.network):
        logger.info("input          %s", code)


def _tell(result: SideBySide) -> None:
    for line in report.layer_tables(result):
        logger.info("%s", line)
    first, *others = report.prediction_lines(result.readouts)
    logger.info("predictions    %s", first)
    for line in others:
        logger.info("               %s", line)
    closed, simulated = result.readouts.accuracies()
    logger.info("test accuracy  %.2f %% by the closed form, %.2f %% simulated", 100 * closed, 100 * simulated)
