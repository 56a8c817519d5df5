"""What of a run's config may change as the run goes on, and what follows from a change (docs/runs.md)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config.keys import Config, WatchConfig
from ttfs_cupy.experiment.config.values import PspSlopeSchedule, Section

# What a checkpoint, the order of images or the split would no longer fit, or what would be another model
FIXED = {
    "seed",
    "output",
    *(f"data.{key}" for key in ("dataset", "size", "channels", "test", "time_window", "mean", "std")),
    *(f"data.{key}" for key in ("sampling", "subset", "validation")),
    *(f"training.{key}" for key in ("batch_size", "accumulate", "average")),
    *(f"optimizer.{key}" for key in ("name", "fixed_sign")),
    *(f"network.{key}" for key in ("model", "t_win", "encoding", "standardize", "readout", "normalization")),
    *(f"network.{key}" for key in ("silent", "initial_potential", "initial_weights", "weight_mean", "weight_std")),
}

# What changes no result: where and on what a run is made, by what algorithms, and what it keeps and tells of itself
HARMLESS = {
    *("output", "device", "threads", "tune", "network.convolution"),
    *(f"data.{key}" for key in ("root", "download", "resident")),
    *(f"training.{key}" for key in ("checkpoint_every", "keep", "max_skipped")),
    *(f"watch.{key}" for key in WatchConfig.model_fields),
}


def check(before: Config, after: Config) -> None:
    """Raises UserError where a run that began with `before` cannot go on with `after`."""
    for key in changed(before, after):
        if key in FIXED:
            raise UserError(
                f"--resume cannot change {key}, which belongs to the run from its start: begin a new run, with "
                "--init-from if its weights are to go on"
            )


def with_slope_kept(before: Config, after: Config, overrides: Sequence[str]) -> Config:
    """`after`, with psp_slope at each epoch as it was before training.epochs changed, unless it was set, too.

    Its schedule counts in shares of the run, which are others now.
    """
    slope, old, new = after.network.psp_slope, before.training.epochs, after.training.epochs
    is_set = any(override.startswith("network.psp_slope") for override in overrides)
    if old == new or is_set or not isinstance(slope, PspSlopeSchedule):
        return after
    # rounded, it might come to rest an epoch later
    end = min(1.0, slope.end * old / new, slope.rests_after(old) / new)
    shares = {"start": min(end, slope.start * old / new), "end": end}
    network = after.network.model_copy(update={"psp_slope": slope.model_copy(update=shares)})
    return after.model_copy(update={"network": network})


def changed(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """The dotted keys that differ, with both values."""
    old, new = (dict(leaves(config)) for config in (before, after))
    return {key: (old[key], new[key]) for key in old if old[key] != new[key]}


def of_results(before: Config, after: Config) -> dict[str, tuple[Any, Any]]:
    """Those of them that make another result, but for rounding: not HARMLESS."""
    return {key: values for key, values in changed(before, after).items() if key not in HARMLESS}


def require_same_network(before: Config, after: Config) -> None:
    """Raises UserError where what is set would make another network than the run's, for whoever writes that one."""
    for key in of_results(before, after):
        raise UserError(f"--set cannot change {key} here, which is the run's: only where its data are, by data.root")


def record(before: Config, after: Config) -> dict[str, list[Any]]:
    """`changed`, for metrics.jsonl: of mappings only what differs."""
    found: dict[str, list[Any]] = {}
    for key, (old, new) in changed(before, after).items():
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            parts = [part for part in dict.fromkeys([*old, *new]) if old.get(part) != new.get(part)]
            found |= {f"{key}.{part}": [old.get(part), new.get(part)] for part in parts}
        else:
            found[key] = [old, new]
    return found


def put(content: Mapping[str, Any], before: Config, after: Config) -> dict[str, Any]:
    """A config file's content with what has changed since `before`."""
    found: dict[str, Any] = dict(content)
    for dotted, (_, value) in changed(before, after).items():
        section, _, key = dotted.rpartition(".")
        found |= {section: {**(found.get(section) or {}), key: value}} if section else {key: value}
    return found


def leaves(config: Config) -> Iterator[tuple[str, Any]]:
    for name, value in config.model_dump(mode="json", by_alias=True).items():
        if isinstance(getattr(config, name), Section):
            yield from ((f"{name}.{key}", one) for key, one in value.items())
        else:
            yield name, value
