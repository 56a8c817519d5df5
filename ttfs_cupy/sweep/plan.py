"""All runs of a sweep, in their order; and whether each has a config that can be."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.sweep.grid import check_size
from ttfs_cupy.sweep.naming import folder_name


@dataclass(frozen=True)
class Setting:
    """A value for each key. label: those that are not the same in all settings."""

    values: Mapping[str, str]
    label: str

    @property
    def overrides(self) -> list[str]:
        """What `--set` takes."""
        return [f"{key}={value}" for key, value in self.values.items()]


@dataclass(frozen=True)
class PlannedRun:
    """A setting with a seed. name: of its folder."""

    setting: Setting
    seed: int
    name: str


def planned(settings: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[PlannedRun]:
    """Every setting with every seed. Keys that come first change last, and seeds change first. Raises UserError."""
    check_size(settings, seeds)
    varied = [key for key, values in settings.items() if len(values) > 1]
    runs = []
    for values in itertools.product(*settings.values()):
        chosen = dict(zip(settings, values, strict=True))
        told = [(key, chosen[key]) for key in varied]
        setting = Setting(chosen, ", ".join(f"{key}={value}" for key, value in told) or "as given")
        runs += [PlannedRun(setting, seed, folder_name([*told, ("seed", str(seed))])) for seed in seeds]
    return runs


def check_configs(config: str | Path, runs: Sequence[PlannedRun], *, tune: bool) -> None:
    """Raises UserError where a run has no config that can be, or two settings have the same one."""
    last = [] if tune else ["tune=false"]
    known: dict[str, Setting] = {}
    for setting, _ in by_setting(runs):
        found = load_config(config, [*setting.overrides, *last]).model_dump_json()
        if found in known:
            twins = " and ".join(f"'{one_line(one.label, 150)}'" for one in (known[found], setting))
            raise UserError(f"{twins} are one and the same config: keep one of them")
        known[found] = setting
    # of which nothing else in a config depends, and which have a range
    seeds = [run.seed for run in runs]
    for seed in (min(seeds), max(seeds)):
        load_config(config, [*runs[0].setting.overrides, *last], {"seed": seed})


def by_setting(runs: Sequence[PlannedRun]) -> list[tuple[Setting, list[PlannedRun]]]:
    """Each setting with its runs, one a seed, in order."""
    groups = (list(group) for _, group in itertools.groupby(runs, key=lambda run: id(run.setting)))
    return [(group[0].setting, group) for group in groups]
