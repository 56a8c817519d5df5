"""Warnings of layers, by their firing rates and by how many neurons fire as their window opens."""

from collections.abc import Mapping, Set
from typing import Literal

from ttfs_cupy.engine.diagnosis import silent_layers
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.watching.saturation import SATURATED, saturation
from ttfs_cupy.experiment.watching.silence import FAINT, faintness, silence

# What is wrong, and with which layer
Trouble = tuple[Literal["silent", "faint", "saturated"], str]


def troubles(rates: Mapping[str, float], saturations: Mapping[str, float]) -> set[Trouble]:
    """Both by layer, shares of its neurons. A layer that is silent is faint, too."""
    found: set[Trouble] = {("silent", name) for name in silent_layers(rates)}
    found |= {("faint", name) for name, rate in rates.items() if rate < FAINT}
    found |= {("saturated", name) for name, rate in rates.items() if _saturated(rate, saturations.get(name, 0.0))}
    return found


def layer_warnings(
    rates: Mapping[str, float],
    saturations: Mapping[str, float],
    images: str,
    config: Config,
    told: Set[Trouble] = frozenset(),
) -> list[str]:
    """A warning for each kind of trouble that was not told of already, in the layers' order."""
    new = troubles(rates, saturations) - told
    silent = [name for name in rates if ("silent", name) in new]
    faint = {name: rate for name, rate in rates.items() if ("faint", name) in new and rate > 0}
    full = {name: saturations[name] / rate for name, rate in rates.items() if ("saturated", name) in new}
    warnings = [silence(silent, images, config)] if silent else []
    if faint:
        warnings.append(faintness(faint, images, config))
    if full:
        warnings.append(saturation(full, images, config))
    return warnings


def _saturated(rate: float, at_once: float) -> bool:
    return at_once > SATURATED * rate > 0
