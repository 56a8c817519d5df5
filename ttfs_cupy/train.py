"""Trains a network from a YAML file, or from T2FSNN's JSON: python -m ttfs_cupy.train configs/quickstart.yaml."""

if __name__ == "__main__":
    # imports this module by its name, and what it needs, with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.train()

import argparse
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from ttfs_cupy.common.command import command_line, interruption, loudness
from ttfs_cupy.common.command.typed_command import called, typed
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.threads import cannot_start
from ttfs_cupy.common.version import __version__
from ttfs_cupy.engine.steps.class_counts import ClassTotals
from ttfs_cupy.experiment import dry_run, named_config
from ttfs_cupy.experiment.agreement import (
    interrupted_together,
    require_same_command,
    require_same_config,
    require_same_data,
    told,
)
from ttfs_cupy.experiment.config import Config, changes, dump_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.config.keys import resolve
from ttfs_cupy.experiment.files import best_weights, run_directory, shared
from ttfs_cupy.experiment.files.elsewhere import run_of
from ttfs_cupy.experiment.files.progress import has_steps
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.prepare import Experiment, prepare
from ttfs_cupy.experiment.run_weights import load_best
from ttfs_cupy.experiment.steering import take_changes
from ttfs_cupy.experiment.trainer import Trainer
from ttfs_cupy.experiment.watching.loggers import require as require_loggers
from ttfs_cupy.experiment.wiring import Wiring, wired
from ttfs_cupy.ranks.group import Group, LostRankError
from ttfs_cupy.ranks.together import said_once, together

logger = logging.getLogger("ttfs_cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    with said_once():
        parsed = parser().parse_args(arguments)
    command = _resume if parsed.resume is not None else _start

    def over(group: Group) -> None:
        # one voice
        with nullcontext() if group.rank == 0 else loudness.silent():
            command(parsed, group)

    return command_line.run(lambda: together(over), process_ends=arguments is None, level=parsed.level)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("train"), description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "config",
        nargs="?",
        type=command_line.path,
        help="a YAML file, the name of a bundled one such as quickstart, or T2FSNN's .json",
    )
    which.add_argument("--resume", type=command_line.path, metavar="RUN_DIR", help="go on with an interrupted run")
    parser.add_argument(
        "--output", type=command_line.path, metavar="DIR", help="the run's directory (default: runs/NAME_OF_CONFIG)"
    )
    named_config.add_options(parser)
    parser.add_argument("--device", help="auto, cuda, cuda:N or cpu")
    parser.add_argument("--seed", type=int, help="of weights, validation split and shuffling")
    parser.add_argument(
        "--init-from",
        type=command_line.path,
        metavar="FILE",
        help="weights to begin with: a run's directory, .safetensors, or a PyTorch state_dict in .pt or .pth",
    )
    parser.add_no_tune()
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be trained and how long it would take; write nothing"
    )
    parser.add_overrides("any key of the config; may be repeated")
    loudness.add_options(parser, "warnings, errors, and the test accuracy")
    return parser


def _start(parsed: argparse.Namespace, group: Group) -> None:
    require_same_command(group, "a dry run" if parsed.dry_run else "a new run")
    overrides = [*parsed.set, *(["tune=false"] if parsed.no_tune else [])]
    output = None if parsed.output is None else str(parsed.output)
    options = {"device": parsed.device, "seed": parsed.seed, "output": output}
    options["network.initial_weights"] = None if parsed.init_from is None else str(parsed.init_from)
    found = named_config.named(parsed.config, parsed.dataset, parsed.network, overrides, options)
    config = found.config
    require_same_config(group, config)
    if group.rank == 0:
        require_loggers(config)
    if found.table:
        logger.info("%s\n", "\n".join(found.table))
    if parsed.dry_run:
        dry_run.show(prepare(config, group=group))
        return
    # before anything is prepared: two starts at once do not get one directory
    if config.output is not None:
        run = run_of(group, partial(RunDirectory.claim_new, Path(config.output)))
    else:
        run = run_of(group, partial(RunDirectory.claim_unused, Path("runs") / parsed.config.stem))
        config = config.model_copy(update={"output": str(run.path)})
    with run.claimed():
        try:
            experiment = prepare(config, group=group)
            run.write_config(found.origin + dump_config(experiment.config))
            _train(experiment, run, None)
        except BaseException as error:
            interruption.arrived()
            # without weights to go on from, this is no run, and would only be in the way of the next one; nor is one
            # for whose first steps there was too little memory, here or at a rank that is lost
            is_too_large = isinstance(error, MemoryError | LostRankError) or cannot_start(error)
            if not run.has_checkpoint or (is_too_large and not has_steps(run)):
                run.discard()
            raise


def _resume(parsed: argparse.Namespace, group: Group) -> None:
    if parsed.dry_run:
        raise UserError("--dry-run shows what a new run would do: leave out --resume, and name a config")
    for option in ("output", "seed", "dataset", "network"):
        if getattr(parsed, option) is not None:
            raise UserError(f"--resume goes on with the run's own config: leave out --{option}")
    if parsed.init_from is not None:
        raise UserError("--resume goes on with the run's own weights: leave out --init-from")
    require_same_command(group, f"to resume {parsed.resume}", [*parsed.set, f"--device {parsed.device}"])
    run = run_of(group, partial(RunDirectory.existing, parsed.resume))
    with run.claimed():
        # what was killed before it had written any weights begins anew
        has_begun = told(group, lambda: run.has_begun)
        overrides = [run_directory.OWN_WEIGHTS] if has_begun else []
        where, content = told(group, lambda: config_text.read(run.config))
        before = resolve(where, content, {}, overrides)
        # the device may change: a run may move to another machine (its bits then differ from there on)
        config = resolve(where, content, {}, [*overrides, *parsed.set], {"device": parsed.device})
        changes.check(before, config)
        config = changes.with_slope_kept(before, config, parsed.set)
        if group.rank == 0:
            require_loggers(config)
        # whoever names an algorithm here gets that one, or is refused it
        names_algorithms = any(item.startswith("network.convolution") for item in parsed.set)
        experiment = prepare(config, of_run=not names_algorithms, group=group)
        if has_begun and not told(group, lambda: run.check_split(experiment.fingerprint)):
            raise UserError(
                f"'{run.path}' cannot go on: it has no {run.split.name} that says which images it held out, and "
                "earlier versions held out others; evaluate it, or begin anew"
            )
        if not has_begun:
            # what --set and --device changed is how it begins
            run.write_config(dump_config(experiment.config))
        _train(experiment, run, before if has_begun else None)


def _train(experiment: Experiment, run: RunDirectory, before: Config | None) -> None:
    """before: the config with which a run that goes on ran until now; None: it begins."""
    try:
        with interrupted_together(experiment.group):
            require_same_data(experiment.group, experiment.fingerprint)
            with wired(experiment.group, experiment.network, experiment.config.training.batch_size) as wiring:
                _fit(experiment, run, before, wiring)
    except KeyboardInterrupt:
        interruption.arrived()
        if run.has_checkpoint:
            standing = best_weights.standing(experiment.config, run)
            places = (standing, run.resume_command)
            logger.info("interrupted: %s; go on with: %s", *places, extra=loudness.RESULT)
            raise interruption.ToldInterrupt from None
        raise


def _fit(experiment: Experiment, run: RunDirectory, before: Config | None, wiring: Wiring) -> None:
    run.keep_log()
    config, network = experiment.config, experiment.network
    optimizer = experiment.optimizer()
    trainer = Trainer(config, network, optimizer, experiment.training, experiment.validation, run, wiring)
    if before is not None:
        trainer.resume()
        take_changes(before, trainer)
    else:
        run.write_split(experiment.fingerprint)
    logger.info("ttfs_cupy %s on %s (%s)", __version__, experiment.device.description, experiment.device_reason)
    logger.info(
        "%s: %d training, %d validation and %d test images",
        *(config.data.dataset, len(experiment.training.members), len(experiment.validation.members)),
        len(experiment.test.members),
    )
    for line in (*wiring.lines, *experiment.begun_with):
        logger.info("%s", line)
    if before is None and optimizer.moved:
        logger.info("optimizer.weight_clip moved %d weights to its bounds, before the first step", optimizer.moved)
    if network.encoder.standardize:
        logger.info("standardised input leaves the window [0, T]: this is not a causal time-to-first-spike code")
    logger.info("%s", network.summary())
    for layer, algorithms in network.algorithms.items():
        logger.debug("%s is convolved by %s", layer, algorithms)
    with trainer.watched():
        trainer.fit()
        _finish(experiment, trainer, run)


def _finish(experiment: Experiment, trainer: Trainer, run: RunDirectory) -> None:
    """Measures the test set, once, with the best weights, and says what to try next."""
    told(experiment.group, lambda: best_weights.require(run))
    network = experiment.network
    best = load_best(network, run.best, shared.reader(experiment.group))
    test = trainer.evaluator.over(experiment.test, "test")
    trainer.metrics.add(
        test_accuracy=test.totals.accuracy,
        test_loss=test.totals.loss,
        test_images=test.totals.images,
        balanced_accuracy=test.classes.balanced_accuracy,
        class_accuracies=test.classes.accuracies,
        firing_rates=test.firing_rates,
        saturations=test.saturations,
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
        extra={"bold": f"test accuracy {100 * test.totals.accuracy:.2f} %", **loudness.RESULT},
    )
    logger.info("the run is in %s; try next:", run.path)
    seed = experiment.config.seed + 1
    logger.info("  %s", typed("evaluate", run.path))
    logger.info("  %s", typed("train", run.config, "--seed", str(seed), "--output", Path(f"{run.path}-seed-{seed}")))


def _by_class(classes: ClassTotals) -> str:
    return f" (balanced {100 * classes.balanced_accuracy:.2f} %)" if classes.are_uneven else ""
