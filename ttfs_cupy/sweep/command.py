"""Trains every combination of settings and seeds: python -m ttfs_cupy.sweep CONFIG --seeds 0-4 --set KEY=VALUE,..."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.ranks.place import launcher_of, place
from ttfs_cupy.ranks.together import said_once
from ttfs_cupy.sweep.devices import check_devices, parse_devices
from ttfs_cupy.sweep.folder import Record, SweepFolder
from ttfs_cupy.sweep.grid import parse_seeds, parse_settings
from ttfs_cupy.sweep.plan import PlannedRun, check_configs, planned
from ttfs_cupy.sweep.results import read_result
from ttfs_cupy.sweep.runner import Runner


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 if every run is finished, 1 if any failed."""
    with said_once():
        parsed = parser().parse_args(arguments)
        command = _resume if parsed.resume is not None else _start

        def over() -> int:
            _require_alone()
            return command(parsed)

        return command_line.run(over, process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("sweep"), description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "config", nargs="?", type=command_line.path, help="a YAML file, or the name of a bundled one such as quickstart"
    )
    which.add_argument("--resume", type=command_line.path, metavar="DIR", help="go on with the sweep in that folder")
    parser.add_argument("--seeds", metavar="SEEDS", help="such as 0-4, or 0,3,7 (default: the config's)")
    parser.add_overrides(
        "any key of the config, with one value or several; may be repeated", metavar="KEY.SUB=VALUE,VALUE"
    )
    parser.add_argument(
        "--output",
        type=command_line.path,
        metavar="DIR",
        help="the sweep's folder (default: runs/NAME_OF_CONFIG-sweep)",
    )
    parser.add_argument(
        "--devices", metavar="DEVICES", help="such as cuda:0,cuda:1 or cpu,cpu: one run at a time on each"
    )
    parser.add_no_tune()
    parser.add_argument("--dry-run", action="store_true", help="say which runs there would be, and change nothing")
    return parser


def _require_alone() -> None:
    """Its runs would take themselves for ranks of one, too. Raises UserError."""
    here, launcher = place(os.environ), launcher_of(os.environ)
    if launcher is not None and here.size > 1:
        raise UserError(
            f"a sweep is one process, which starts those of its runs, and {launcher.both} in the environment say that "
            f"this one is rank {here.rank} of {here.size}: start it by itself, not by mpirun, srun or torchrun"
        )


def _start(parsed: argparse.Namespace) -> int:
    settings = parse_settings(parsed.set)
    _, content = config_text.read(parsed.config)
    seeds = None if parsed.seeds is None else parse_seeds(parsed.seeds)
    if seeds is None:
        # with a setting: the base alone may lack what each run needs
        first = [f"{key}={values[0]}" for key, values in settings.items()]
        seeds = [load_config(parsed.config, first).seed]
    devices = None if parsed.devices is None else parse_devices(parsed.devices)
    record = Record(config=content, settings=settings, seeds=seeds, tune=not parsed.no_tune, devices=devices)
    output = parsed.output or Path("runs") / f"{parsed.config.stem}-sweep"
    return _sweep(SweepFolder(output), record, parsed.config, dry_run=parsed.dry_run)


def _resume(parsed: argparse.Namespace) -> int:
    if parsed.output is not None or parsed.seeds is not None or parsed.set or parsed.no_tune:
        raise UserError(
            "--resume goes on with the sweep's own settings: leave out --output, --seeds, --set and --no-tune"
        )
    folder = SweepFolder(parsed.resume)
    record = folder.existing()
    if parsed.devices is not None:
        record = record.model_copy(update={"devices": parse_devices(parsed.devices)})
    return _sweep(folder, record, folder.base, dry_run=parsed.dry_run)


def _sweep(folder: SweepFolder, record: Record, config: Path, *, dry_run: bool) -> int:
    """config: what holds the record's config, and is named in messages."""
    runs = planned(record.settings, record.seeds)
    check_configs(config, runs, tune=record.tune)
    devices = record.devices or [load_config(config, runs[0].setting.overrides).device]
    check_devices(devices)
    if dry_run:
        folder.check(record)
        _tell(folder, runs, devices)
        return 0
    with folder.claimed(record):
        return Runner(folder, runs, record.devices or [None], tune=record.tune).run()


def _tell(folder: SweepFolder, runs: Sequence[PlannedRun], devices: Sequence[str]) -> None:
    say(f"{len(runs)} runs in {folder.path}, one at a time on each of: {', '.join(devices)}")
    for run in runs:
        say(f"  {run.name}{_standing(folder, run)}")


def _standing(folder: SweepFolder, run: PlannedRun) -> str:
    directory = folder.run_directory(run)
    if trouble := folder.trouble(run):
        return f" (not to be used: {one_line(trouble)})"
    if read_result(directory) is not None:
        return " (finished)"
    return " (begun)" if directory.config.exists() else ""
