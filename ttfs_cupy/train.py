"""Trains a network from a YAML file: python -m ttfs_cupy.train configs/quickstart.yaml."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common import entry

    entry.train()

import argparse
import json
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.version import __version__
from ttfs_cupy.experiment import run_directory
from ttfs_cupy.experiment.config import dump_config, load_config
from ttfs_cupy.experiment.prepare import Experiment, load_best, prepare
from ttfs_cupy.experiment.run_directory import RunDirectory
from ttfs_cupy.experiment.trainer import Trainer

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run(lambda: _resume(parsed) if parsed.resume else _start(parsed))


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="ttfs-train", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("config", nargs="?", help="a YAML file, or the name of a bundled one such as quickstart")
    which.add_argument("--resume", metavar="RUN_DIR", help="go on with an interrupted run")
    parser.add_argument("--output", metavar="DIR", help="the run's directory (default: runs/NAME_OF_CONFIG)")
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu")
    parser.add_argument("--seed", type=int, help="of weights, validation split and shuffling")
    parser.add_argument(
        "--no-tune", action="store_true", help="choose convolutions by their shapes, not by timing them on the device"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.SUB=VALUE",
        help="any key of the config; may be repeated",
    )
    return parser


def _start(parsed: argparse.Namespace) -> None:
    overrides = list(parsed.set)
    overrides += [f"device={json.dumps(parsed.device)}"] if parsed.device is not None else []
    overrides += [f"seed={parsed.seed}"] if parsed.seed is not None else []
    overrides += ["tune=false"] if parsed.no_tune else []
    overrides += [f"output={json.dumps(parsed.output)}"] if parsed.output is not None else []
    config = load_config(parsed.config, overrides)
    if config.output is None:
        config = config.model_copy(
            update={"output": str(run_directory.unused(Path("runs") / Path(parsed.config).stem))}
        )
    experiment = prepare(config)
    assert config.output is not None
    run = RunDirectory.create(Path(config.output), dump_config(experiment.config))
    try:
        _train(experiment, run, resume=False)
    except UserError:
        # without weights to go on from, this is no run, and would only be in the way of the next one
        if not run.last.exists():
            run.discard()
        raise


def _resume(parsed: argparse.Namespace) -> None:
    if parsed.output is not None or parsed.seed is not None or parsed.set:
        raise UserError("--resume goes on with the run's own config: leave out --output, --seed and --set")
    run = RunDirectory.existing(Path(parsed.resume))
    # the device may change: a run may move to another machine (its bits then differ from there on)
    overrides = [run_directory.OWN_WEIGHTS]
    overrides += [f"device={json.dumps(parsed.device)}"] if parsed.device is not None else []
    _train(prepare(load_config(run.config, overrides), of_run=True), run, resume=True)


def _train(experiment: Experiment, run: RunDirectory, *, resume: bool) -> None:
    run.keep_log()
    config, network = experiment.config, experiment.network
    trainer = Trainer(config, network, experiment.optimizer(), experiment.training, experiment.validation, run)
    if resume:
        trainer.resume()
    logger.info("ttfs_cupy %s on %s (%s)", __version__, experiment.device.description, experiment.device_reason)
    logger.info(
        "%s: %d training, %d validation and %d test images",
        *(config.data.dataset, len(experiment.training.images), len(experiment.validation.images)),
        len(experiment.test.images),
    )
    if network.encoder.standardize:
        logger.info("standardised input leaves the window [0, T]: this is not a causal time-to-first-spike code")
    logger.info("%s", network.summary())
    try:
        trainer.fit()
    except KeyboardInterrupt:
        command = "python -m ttfs_cupy.train --resume"
        logger.info("interrupted: the best weights are in %s; go on with: %s %s", run.best, command, run.path)
        raise
    _finish(experiment, trainer, run)


def _finish(experiment: Experiment, trainer: Trainer, run: RunDirectory) -> None:
    """Measures the test set, once, with the best weights, and says what to try next."""
    network = experiment.network
    load_best(network, run.best)
    test = trainer.evaluator.over(experiment.test, "test")
    trainer.metrics.add(
        test_accuracy=test.totals.accuracy,
        test_loss=test.totals.loss,
        test_images=test.totals.images,
        firing_rates=test.firing_rates,
        best_epoch=trainer.progress.best_epoch,
        psp_slope=network.psp_slope,
        device=experiment.device.description,
        precision=network.precision,
        convolutions=network.algorithms,
        version=__version__,
    )
    logger.info(
        "test accuracy %.2f %% on %d images, with the weights of epoch %d",
        *(100 * test.totals.accuracy, test.totals.images, trainer.progress.best_epoch),
    )
    logger.info("the run is in %s; try next:", run.path)
    seed = experiment.config.seed + 1
    config, output = shlex.quote(str(run.config)), shlex.quote(f"{run.path}-seed-{seed}")
    logger.info("  python -m ttfs_cupy.evaluate %s", shlex.quote(str(run.path)))
    logger.info("  python -m ttfs_cupy.train %s --seed %d --output %s", config, seed, output)
