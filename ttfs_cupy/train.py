"""Trains a network from a YAML file: python -m ttfs_cupy.train configs/quickstart.yaml."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.train()

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common.command import command_line, interruption, loudness
from ttfs_cupy.common.command.typed_command import typed
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.threads import cannot_start
from ttfs_cupy.common.version import __version__
from ttfs_cupy.engine.steps.class_counts import ClassTotals
from ttfs_cupy.experiment.config import Config, dump_config, load_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.files import best_weights, run_directory
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.prepare import Experiment, load_best, prepare
from ttfs_cupy.experiment.trainer import Trainer
from ttfs_cupy.experiment.watching.loggers import require as require_loggers

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    command = _resume if parsed.resume is not None else _start
    return command_line.run(lambda: command(parsed), process_ends=arguments is None, level=parsed.level)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="ttfs-train", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "config", nargs="?", type=command_line.path, help="a YAML file, or the name of a bundled one such as quickstart"
    )
    which.add_argument("--resume", type=command_line.path, metavar="RUN_DIR", help="go on with an interrupted run")
    parser.add_argument(
        "--output", type=command_line.path, metavar="DIR", help="the run's directory (default: runs/NAME_OF_CONFIG)"
    )
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
    loudness.add_options(parser, "warnings, errors, and the test accuracy")
    return parser


def _start(parsed: argparse.Namespace) -> None:
    overrides = [*parsed.set, *(["tune=false"] if parsed.no_tune else [])]
    output = None if parsed.output is None else str(parsed.output)
    options = {"device": parsed.device, "seed": parsed.seed, "output": output}
    config = load_config(parsed.config, overrides, options)
    require_loggers(config)
    # before anything is prepared: two starts at once do not get one directory
    if config.output is not None:
        run = RunDirectory.claim_new(Path(config.output))
    else:
        run = RunDirectory.claim_unused(Path("runs") / parsed.config.stem)
        config = config.model_copy(update={"output": str(run.path)})
    with run.claimed():
        try:
            experiment = prepare(config)
            run.write_config(dump_config(experiment.config))
            _train(experiment, run, resume=False)
        except BaseException as error:
            interruption.arrived()
            # without weights to go on from, this is no run, and would only be in the way of the next one; nor is one
            # for whose first epoch there was too little memory
            lacks_memory = isinstance(error, MemoryError) or cannot_start(error)
            if not run.last.exists() or (lacks_memory and not run.metrics.exists()):
                run.discard()
            raise


def _resume(parsed: argparse.Namespace) -> None:
    if parsed.output is not None or parsed.seed is not None or parsed.set:
        raise UserError("--resume goes on with the run's own config: leave out --output, --seed and --set")
    run = RunDirectory.existing(parsed.resume)
    with run.claimed():
        # what was killed before it had written any weights begins anew
        has_begun = run.has_begun
        overrides = [run_directory.OWN_WEIGHTS] if has_begun else []
        # the device may change: a run may move to another machine (its bits then differ from there on)
        config = load_config(run.config, overrides, {"device": parsed.device})
        require_loggers(config)
        experiment = prepare(config, of_run=True)
        if has_begun and not run.check_split(experiment.fingerprint):
            raise UserError(
                f"'{run.path}' cannot go on: it has no {run.split.name} that says which images it held out, and "
                "earlier versions held out others; evaluate it, or begin anew"
            )
        _train(experiment, run, resume=has_begun)


def _train(experiment: Experiment, run: RunDirectory, *, resume: bool) -> None:
    try:
        _fit(experiment, run, resume=resume)
    except KeyboardInterrupt:
        interruption.arrived()
        if run.last.exists():
            standing = best_weights.standing(experiment.config, run)
            told = (standing, run.resume_command)
            logger.info("interrupted: %s; go on with: %s", *told, extra=loudness.RESULT)
            raise interruption.ToldInterrupt from None
        raise


def _fit(experiment: Experiment, run: RunDirectory, *, resume: bool) -> None:
    run.keep_log()
    config, network = experiment.config, experiment.network
    trainer = Trainer(config, network, experiment.optimizer(), experiment.training, experiment.validation, run)
    if resume:
        trainer.resume()
    else:
        run.write_split(experiment.fingerprint)
    _write_what_changed(config, run)
    logger.info("ttfs_cupy %s on %s (%s)", __version__, experiment.device.description, experiment.device_reason)
    logger.info(
        "%s: %d training, %d validation and %d test images",
        *(config.data.dataset, len(experiment.training.members), len(experiment.validation.members)),
        len(experiment.test.members),
    )
    if network.encoder.standardize:
        logger.info("standardised input leaves the window [0, T]: this is not a causal time-to-first-spike code")
    logger.info("%s", network.summary())
    for layer, algorithms in network.algorithms.items():
        logger.debug("%s is convolved by %s", layer, algorithms)
    with trainer.watched():
        trainer.fit()
        _finish(experiment, trainer, run)


def _write_what_changed(config: Config, run: RunDirectory) -> None:
    """config.yaml names the device and the algorithms that the run uses from here on. All else stays as it is there."""
    _, content = config_text.read(run.config)
    network = {**(content.get("network") or {}), "convolution": config.network.convolution}
    changed = {**content, "device": config.device, "network": network}
    if changed != content:
        run.write_config(config_text.write(changed))


def _finish(experiment: Experiment, trainer: Trainer, run: RunDirectory) -> None:
    """Measures the test set, once, with the best weights, and says what to try next."""
    best_weights.require(run)
    network = experiment.network
    best = load_best(network, run.best)
    test = trainer.evaluator.over(experiment.test, "test")
    trainer.metrics.add(
        test_accuracy=test.totals.accuracy,
        test_loss=test.totals.loss,
        test_images=test.totals.images,
        balanced_accuracy=test.classes.balanced_accuracy,
        class_accuracies=test.classes.accuracies,
        firing_rates=test.firing_rates,
        best_epoch=trainer.progress.best_epoch,
        psp_slope=network.psp_slope,
        device=experiment.device.description,
        precision=network.precision,
        convolutions=network.algorithms,
        version=__version__,
    )
    trainer.loggers.tested(trainer.metrics.lines[-1])
    logger.info(
        "test accuracy %.2f %%%s on %d images, with the %sweights of epoch %d",
        *(100 * test.totals.accuracy, _by_class(test.classes), test.totals.images),
        *("averaged " if best.are_averaged else "", best.epoch),
        extra=loudness.RESULT,
    )
    logger.info("the run is in %s; try next:", run.path)
    seed = experiment.config.seed + 1
    logger.info("  %s", typed("evaluate", run.path))
    logger.info("  %s", typed("train", run.config, "--seed", str(seed), "--output", Path(f"{run.path}-seed-{seed}")))


def _by_class(classes: ClassTotals) -> str:
    return f" (balanced {100 * classes.balanced_accuracy:.2f} %)" if classes.are_uneven else ""
