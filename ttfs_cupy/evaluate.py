"""Measures a run's weights on the test set: python -m ttfs_cupy.evaluate RUN_DIR."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.evaluate()

import argparse
import logging
from collections.abc import Sequence

from ttfs_cupy.common.command import command_line, loudness
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.data.corruption import CORRUPTIONS, Corruption, corrupted_batches, described
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.class_counts import ClassTotals
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.noise import Noise
from ttfs_cupy.engine.steps.prediction import predict
from ttfs_cupy.experiment.watching.layers import layer_warnings
from ttfs_cupy.trained.opening import open_run

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = parser().parse_args(arguments)
    return command_line.run(lambda: _evaluate(parsed), process_ends=arguments is None, level=parsed.level)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("evaluate"), description=__doc__)
    parser.add_run()
    parser.add_device()
    parser.add_overrides("a key of the config, such as data.root=DIR")
    add = parser.add_argument
    parser.add_epoch()
    add("--jitter", type=float, default=0.0, metavar="SHARE", help="jitters spike times: sigma, as a share of t_win")
    add("--time-bits", type=int, metavar="B", help="rounds spike times to 2^B steps of t_win")
    add("--weight-bits", type=int, metavar="B", help="rounds weights to 2^(B-1)-1 levels a side, by output channel")
    add("--drop-spikes", type=float, default=0.0, metavar="P", help="loses each spike with this probability")
    add(
        "--corrupt",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "LEVEL"),
        help=f"corrupts the images: {', '.join(CORRUPTIONS)}, and how much; repeated, one after the other",
    )
    add("--noise-seed", type=int, default=0, metavar="N", help="of all of this that is drawn (default: 0)")
    loudness.add_options(parser, "warnings, errors, and the test accuracy")
    return parser


def _evaluate(parsed: argparse.Namespace) -> None:
    noise = Noise(parsed.jitter, parsed.time_bits, parsed.weight_bits, parsed.noise_seed, parsed.drop_spikes)
    corruptions = [_corruption(name, level) for name, level in parsed.corrupt]
    opened = open_run(parsed.run, parsed.set, parsed.device, parsed.epoch)
    experiment, network, names = opened.experiment, opened.network, opened.class_names
    is_disturbed = noise.is_on or bool(corruptions)
    if is_disturbed:
        quiet = predict(network, experiment.test)
        noisy = predict(network, corrupted_batches(experiment.test, corruptions, noise.seed), noise)
        result, plain = noisy.evaluation, quiet.evaluation
    else:
        result = plain = Evaluator(network, experiment.test.batch_size).over(experiment.test, "test")
    logger.info("device         %s (%s)", experiment.device.description, experiment.device_reason)
    logger.info("precision      %s", network.precision)
    weights, split = opened.weights, opened.run.split
    averaged = ", averaged" if weights.are_averaged else ""
    logger.info("weights        %s, epoch %d%s", opened.path, weights.epoch, averaged)
    if not opened.is_known:
        logger.info("data           unknown to the run, which has no %s: it may have seen others", split.name)
    logger.info("test images    %d", result.totals.images)
    logger.info("test loss      %.4f", result.totals.loss)
    percent = f"{100 * result.totals.accuracy:.2f} %"
    logger.info("test accuracy  %s", percent, extra={"bold": percent, **loudness.RESULT})
    if result.classes.are_uneven:
        logger.info("balanced       %s", _by_class(result.classes, names))
    if is_disturbed:
        logger.info("noise          %s", _described(noise, corruptions, network))
        accuracy, changed = plain.totals.accuracy, noisy.changed(quiet)
        logger.info("without noise  %.2f %%; %.2f %% of predictions change", 100 * accuracy, 100 * changed)
    for name, rate in result.firing_rates.items():
        logger.info("firing rate    %-8s %.3f", name, rate)
    # of the network as it is: what noise silences is no fault of its training
    for warning in layer_warnings(plain.firing_rates, plain.saturations, "test", experiment.config):
        logger.warning("%s", warning)


def _by_class(classes: ClassTotals, names: tuple[str, ...] | None) -> str:
    least = classes.least
    lowest = classes.accuracies[least] or 0.0
    called = str(least) if names is None else one_line(names[least], 60)
    return (
        f"{100 * classes.balanced_accuracy:.2f} %, the mean of the classes; lowest is class {called} with "
        f"{100 * lowest:.2f} % of {classes.images[least]}"
    )


def _corruption(name: str, level: str) -> Corruption:
    try:
        number = float(level)
    except ValueError:
        raise UserError(f"--corrupt {one_line(name, 30)}: the level must be a number, not {shown(level)}") from None
    return Corruption(name, number)


def _described(noise: Noise, corruptions: Sequence[Corruption], network: Network) -> str:
    """What was on; an input code without spike times is none of the noise's business."""
    spared = noise.moves_spikes and not network.encoder.is_spike_code
    parts = [described(corruptions, noise.seed), str(noise) if noise.is_on else ""]
    what = ", ".join(filter(None, parts))
    return f"{what}{'; the input code has no spike times, and is left as it is' if spared else ''}"
