"""Measures a run's weights on the test set: python -m ttfs_cupy.evaluate RUN_DIR."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.evaluate()

import argparse
import logging
from collections.abc import Sequence

from ttfs_cupy.common.command import command_line
from ttfs_cupy.engine.diagnosis import silent_layers
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.experiment import best_weights, run_directory
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import load_best, prepare
from ttfs_cupy.experiment.run_directory import RunDirectory
from ttfs_cupy.experiment.silence import silence

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command_line.Parser(prog="ttfs-evaluate", description=__doc__)
    parser.add_argument("run", metavar="RUN_DIR", type=command_line.path, help="the directory that ttfs-train made")
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu (default: as in the run's config)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.SUB=VALUE",
        help="a key of the config, such as data.root=DIR",
    )
    parsed = parser.parse_args(arguments)
    return command_line.run(lambda: _evaluate(parsed), process_ends=arguments is None)


def _evaluate(parsed: argparse.Namespace) -> None:
    run = RunDirectory.existing(parsed.run)
    best_weights.require(run)
    config = load_config(run.config, [run_directory.OWN_WEIGHTS, *parsed.set], {"device": parsed.device})
    # whoever names an algorithm here gets that one, or is refused it
    of_run = not any(item.startswith("network.convolution") for item in parsed.set)
    experiment = prepare(config, training=False, of_run=of_run)
    network = experiment.network
    epoch = load_best(network, run.best)
    result = Evaluator(network, experiment.test.batch_size).over(experiment.test, "test")
    logger.info("device         %s (%s)", experiment.device.description, experiment.device_reason)
    logger.info("precision      %s", network.precision)
    logger.info("weights        %s, epoch %d", run.best, epoch)
    logger.info("test images    %d", result.totals.images)
    logger.info("test loss      %.4f", result.totals.loss)
    logger.info("test accuracy  %.2f %%", 100 * result.totals.accuracy)
    for name, rate in result.firing_rates.items():
        logger.info("firing rate    %-8s %.3f", name, rate)
    silent = silent_layers(result.firing_rates)
    if silent:
        logger.warning("%s", silence(silent, "test", config))
