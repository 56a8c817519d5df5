"""What psp_slope and standardised weights do to accuracy, spikes, and the precision that a network needs.

    python -m ttfs_cupy.benchmarks.slope_study --config small_fmnist --output runs/slope_study

Trains a config at each slope, with plain and with standardised weights, with each seed; then measures on the test set.
What is done is not done again, and a run that was interrupted goes on.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.slope_study.__main__")

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ttfs_cupy.benchmarks import kept_runs, options
from ttfs_cupy.benchmarks.slope_study import tables
from ttfs_cupy.benchmarks.slope_study.measurement import Measured, measure
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.engine.standardization import NORMALIZATIONS
from ttfs_cupy.experiment.config import Config, dump_config, load_config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.prepare import prepare
from ttfs_cupy.experiment.run_weights import load_best

ANNEALED = "annealed"
SLOPES = ("0", "0.5", "1", ANNEALED)
# where the config has no schedule of its own from 0 to 1
ANNEALING = PspSlopeSchedule.model_validate({"from": 0, "to": 1, "start": 0.2, "end": 0.6})
# Of the learning rate of standardised weights, what plain ones have: by trials at slope 1. At slope 0 they bear more.
PLAIN_SHARE = 1 / 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run(lambda: Study(parsed).conclude(), process_ends=arguments is None)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.slope_study", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", default="small_fmnist", help="a YAML file, or the name of a bundled one (default: small_fmnist)")
    add("--slopes", nargs="+", choices=SLOPES, default=list(SLOPES), help="default: all of them")
    add("--normalizations", nargs="+", choices=NORMALIZATIONS, default=list(NORMALIZATIONS), help="default: both")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    add("--epochs", type=options.count, metavar="N", help="default: as the config says")
    parser.add_overrides("any key of the config; may be repeated")
    add(
        "--plain-lr",
        type=options.rate,
        metavar="RATE",
        help="learning rate of plain weights (default: the config's, or a third of it if that has standardised ones)",
    )
    add(
        "--output",
        type=command_line.path,
        default=Path("runs/slope_study"),
        metavar="DIR",
        help="gets the runs, results.json, table.md and accuracy.png (default: runs/slope_study)",
    )
    add("--report-only", action="store_true", help="makes table and picture of results.json, and trains nothing")
    return parser


class Study:
    """Every slope with every kind of weights and every seed, in a folder."""

    def __init__(self, parsed: argparse.Namespace):
        self.parsed = parsed
        self.results = parsed.output / "results.json"
        self.title = ""
        self.configs: dict[str, str] = {}
        self.runs: list[Measured] = []

    def conclude(self) -> None:
        options.check_matplotlib("the picture")
        if self.results.exists() or self.parsed.report_only:
            self._read()
        if not self.parsed.report_only:
            self._measure_all()
        self._report()

    def _measure_all(self) -> None:
        bases = {normalization: self._load(normalization) for normalization in self.parsed.normalizations}
        for normalization, base in bases.items():
            if self.configs.setdefault(normalization, dump_config(base)) != dump_config(base):
                raise UserError(f"'{self.results}' is of another config: name another folder with --output")
            self.title = f"{Path(self.parsed.config).stem}, {base.training.epochs} epochs"
        done = {(run.slope, run.normalization, run.seed) for run in self.runs}
        # seeds outermost: something of everything comes early
        wanted = product(*map(dict.fromkeys, (self.parsed.seeds, self.parsed.normalizations, self.parsed.slopes)))
        missing = {
            (slope, normalization, seed): self._load(
                normalization, f"network.psp_slope={_slope(bases[normalization], slope)}", f"seed={seed}"
            )
            for seed, normalization, slope in wanted
            if (slope, normalization, seed) not in done
        }
        # all configs are good: now hours of training
        for (slope, normalization, seed), config in missing.items():
            self.runs.append(self._try(config, slope, normalization, seed))
            command_line.say(tables.line(self.runs[-1]))
            # after each, since all of them take a while
            self._write()

    def _load(self, normalization: str, *changes: str) -> Config:
        # algorithms by their shapes, so that a run that goes on convolves with the same ones
        settings = ["tune=false", *self.parsed.set]
        if self.parsed.epochs is not None:
            settings.append(f"training.epochs={self.parsed.epochs}")
        settings.append(f"network.normalization={normalization}")
        if normalization == "none":
            rate = self.parsed.plain_lr or self._plain_rate(settings)
            settings.append(f"optimizer.lr={rate}")
        return load_config(self.parsed.config, [*settings, *changes])

    def _plain_rate(self, settings: Sequence[str]) -> float:
        rate = load_config(self.parsed.config, settings).optimizer.lr
        is_standardized = load_config(self.parsed.config).network.normalization == "weight"
        return rate * PLAIN_SHARE if is_standardized else rate

    def _try(self, config: Config, slope: str, normalization: str, seed: int) -> Measured:
        experiment = prepare(config)
        path = self.parsed.output / f"slope-{slope}-{normalization}-seed-{seed}"
        path.parent.mkdir(parents=True, exist_ok=True)
        run = kept_runs.directory(path, experiment, "--output")
        kept_runs.train(experiment, run)
        epoch = load_best(experiment.network, run.best).epoch
        return measure(
            experiment.network,
            experiment.test,
            slope=slope,
            normalization=normalization,
            seed=seed,
            best_epoch=epoch,
        )

    def _read(self) -> None:
        """Raises UserError if there are no results, or not this command's."""
        try:
            with open_file(self.results) as file:
                text = file.read().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"'{self.results}' cannot be read: {reason(error)}") from None
        content = keys_and_values(text, f"'{self.results}' cannot be read: it is")
        try:
            self.title, self.configs = str(content["title"]), dict(content["configs"])
            self.runs = [Measured.from_json(run) for run in content["runs"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"'{self.results}' is not what this command wrote: {error!r}") from None
        if not self.runs:
            raise UserError(f"'{self.results}' holds no run")

    def _write(self) -> None:
        runs = [run.to_json() for run in self.runs]
        content = {"title": self.title, "configs": self.configs, "runs": runs}
        write_atomically(self.results, (json.dumps(content, indent=1) + "\n").encode())

    def _report(self) -> None:
        """All runs there are, in the order of the options' choices."""
        from ttfs_cupy.benchmarks.slope_study.figure import picture  # matplotlib takes a second

        order = [*product(SLOPES, NORMALIZATIONS)]
        runs = sorted(self.runs, key=lambda run: (order.index((run.slope, run.normalization)), run.seed))
        lines = list(tables.report(runs))
        write_atomically(self.parsed.output / "table.md", ("\n".join(lines) + "\n").encode())
        write_atomically(self.parsed.output / "accuracy.png", picture(runs, self.title))
        command_line.say(*lines)


def _slope(config: Config, slope: str) -> str:
    """YAML of a psp_slope; annealed is the config's own schedule if that goes from 0 to 1."""
    if slope != ANNEALED:
        return slope
    own = config.network.psp_slope
    schedule = own if isinstance(own, PspSlopeSchedule) and (own.from_, own.to) == (0, 1) else ANNEALING
    return json.dumps(schedule.model_dump(by_alias=True))
