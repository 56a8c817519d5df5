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
from ttfs_cupy.common.shown import one_line
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
    parser.add_argument("run", metavar="RUN_DIR", type=command_line.path, help="the directory that ttfs-train made")
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu (default: as in the run's config)")
    parser.add_overrides("a key of the config, such as data.root=DIR")
    add = parser.add_argument
    add("--epoch", type=int, metavar="N", help="the weights after that epoch, of a checkpoint that training.keep kept")
    add("--jitter", type=float, default=0.0, metavar="SHARE", help="jitters spike times: sigma, as a share of t_win")
    add("--time-bits", type=int, metavar="B", help="rounds spike times to 2^B steps of t_win")
    add("--weight-bits", type=int, metavar="B", help="rounds weights to 2^(B-1)-1 levels a side, by output channel")
    add("--noise-seed", type=int, default=0, metavar="N", help="of the jitter (default: 0)")
    loudness.add_options(parser, "warnings, errors, and the test accuracy")
    return parser


def _evaluate(parsed: argparse.Namespace) -> None:
    noise = Noise(parsed.jitter, parsed.time_bits, parsed.weight_bits, parsed.noise_seed)
    opened = open_run(parsed.run, parsed.set, parsed.device, parsed.epoch)
    experiment, network, names = opened.experiment, opened.network, opened.class_names
    if noise.is_on:
        quiet, noisy = predict(network, experiment.test), predict(network, experiment.test, noise)
        result = noisy.evaluation
    else:
        result = Evaluator(network, experiment.test.batch_size).over(experiment.test, "test")
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
    if noise.is_on:
        logger.info("noise          %s", _described(noise, network))
        accuracy, changed = quiet.evaluation.totals.accuracy, noisy.changed(quiet)
        logger.info("without noise  %.2f %%; %.2f %% of predictions change", 100 * accuracy, 100 * changed)
    for name, rate in result.firing_rates.items():
        logger.info("firing rate    %-8s %.3f", name, rate)
    for warning in layer_warnings(result.firing_rates, result.saturations, "test", experiment.config):
        logger.warning("%s", warning)


def _by_class(classes: ClassTotals, names: tuple[str, ...] | None) -> str:
    least = classes.least
    lowest = classes.accuracies[least] or 0.0
    called = str(least) if names is None else one_line(names[least], 60)
    return (
        f"{100 * classes.balanced_accuracy:.2f} %, the mean of the classes; lowest is class {called} with "
        f"{100 * lowest:.2f} % of {classes.images[least]}"
    )


def _described(noise: Noise, network: Network) -> str:
    """The noise that was on; an input code without spike times is none of its business."""
    spared = noise.moves_spikes and not network.encoder.is_spike_code
    return f"{noise}{'; the input code has no spike times, and is left as it is' if spared else ''}"
