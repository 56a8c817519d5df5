"""How deviations shrink with the time step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.simulation.passes import SideBySide


@dataclass(frozen=True)
class Row:
    """The largest deviations over all spiking layers at one dt.

    largest, mean: of spike times, each layer given the closed form's spikes. scaled: the largest one as a share of its
    bound, times dt: what is left of it once the neuron's own gain is taken out. whole, whole_mean: end to end.
    potentials: of the readout, end to end; nan where it fires. differing: predictions end to end.
    """

    dt: float
    largest: float
    mean: float
    scaled: float
    whole: float
    whole_mean: float
    potentials: float
    differing: int
    agrees: bool


ORDERED = ("largest", "mean", "scaled", "whole", "whole_mean", "potentials")


def row_of(result: SideBySide) -> Row:
    given = [layer for layer in result.given_closed if layer.is_spiking]
    whole = [layer for layer in result.end_to_end if layer.is_spiking]
    readouts = [layer.largest for layer in result.end_to_end if not layer.is_spiking]
    dt = result.grid.dt
    return Row(
        dt,
        max(layer.largest for layer in given),
        sum(layer.total for layer in given) / max(1, sum(layer.both for layer in given)),
        dt * max(layer.largest_share for layer in given),
        max(layer.largest for layer in whole),
        sum(layer.total for layer in whole) / max(1, sum(layer.both for layer in whole)),
        readouts[0] if readouts else float("nan"),
        len(result.readouts.differing),
        result.agrees,
    )


def fitted_order(steps: Sequence[float], deviations: Sequence[float]) -> float | None:
    """The exponent p of deviation = c dt^p, by least squares of the logarithms; None where there is none."""
    values = np.array(deviations)
    if len(set(steps)) < 2 or not (np.isfinite(values) & (values > 0)).all():
        return None
    return float(np.polyfit(np.log(steps), np.log(values), 1)[0])


def fitted_orders(rows: Sequence[Row]) -> dict[str, float | None]:
    """By the names of ORDERED."""
    return {name: fitted_order([row.dt for row in rows], [getattr(row, name) for row in rows]) for name in ORDERED}
