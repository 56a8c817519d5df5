"""A simulated layer beside the closed form, neuron by neuron: deviations, flips, and what neither explains."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.simulation.bounds import Between, Bounds
from ttfs_cupy.simulation.time_grid import NO_SPIKE, TimeGrid


class _Quantiles:
    """Of many positive numbers, of which none is kept: they are counted by size, in classes of a hundredth of an
    octave, so what comes out is right to 0.4 %."""

    _LEAST, _MOST, _FINENESS = -40, 40, 100

    def __init__(self) -> None:
        self._counts = np.zeros((self._MOST - self._LEAST) * self._FINENESS + 1, np.int64)

    def add(self, values: NDArray[np.float64]) -> None:
        # nan, too, counts as the most
        octaves = np.log2(np.fmax(np.fmin(values, 2.0**self._MOST), 2.0**self._LEAST))
        places = np.rint((octaves - self._LEAST) * self._FINENESS).astype(np.intp)
        self._counts += np.bincount(places, minlength=len(self._counts))

    def at(self, percent: int) -> float | None:
        """Not below so many of a hundred numbers; None of no numbers."""
        upto = self._counts.cumsum()
        if not upto[-1]:
            return None
        place = int(np.searchsorted(upto, -(-upto[-1] * percent // 100)))
        return float(2.0 ** (place / self._FINENESS + self._LEAST))


@dataclass
class LayerComparison:
    """A layer's neurons over all images that were added.

    spikes: of the closed form. both: neurons that spiked on both sides, of which the others tell: the largest and the
    mean deviation of a spike time, early or late, and the largest share that one is of its bound on that side.
    median_bound, p99_bound: of how late these neurons might have been, in steps, the median and what all but a
    hundredth of them are within; None where nothing bounds them. flips: neurons that spiked on one side alone;
    widest_flip: the largest margin of one, widest_share the largest as a share of what explains it. For a readout that
    does not fire, deviations are of its potentials, and there are no flips. unexplained: neurons beyond their bounds;
    first: a sentence about the first one.
    """

    layer: str
    is_spiking: bool = True
    neurons: int = 0
    spikes: int = 0
    both: int = 0
    largest: float = 0.0
    total: float = 0.0
    largest_share: float = 0.0
    flips: int = 0
    widest_flip: float = 0.0
    widest_share: float = 0.0
    unexplained: int = 0
    first: str = ""
    has_bounds: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        self._bounds = _Quantiles()

    @property
    def median_bound(self) -> float | None:
        return self._bounds.at(50)

    @property
    def p99_bound(self) -> float | None:
        return self._bounds.at(99)

    @property
    def mean(self) -> float:
        return self.total / self.both if self.both else 0.0

    def add_spikes(
        self,
        closed: NDArray[np.float32],
        steps: NDArray[np.int32],
        grid: TimeGrid,
        bounds: Bounds | None,
        first_image: int,
    ) -> None:
        """closed: earliness of the closed form (images, ...). bounds: None where nothing bounds the deviation."""
        closed_spikes, simulated_spikes = closed != 0, steps != NO_SPIKE
        both = np.flatnonzero(closed_spikes & simulated_spikes)
        flips = np.flatnonzero(closed_spikes != simulated_spikes)
        self.neurons += closed.size
        self.spikes += int(closed_spikes.sum())
        times = grid.t_win - closed.reshape(-1)[both].astype(np.float64)
        deviation = steps.reshape(-1)[both] * grid.dt - times
        self._add_deviations(deviation)
        self.flips += len(flips)
        if bounds is None:
            self.has_bounds = False
            return
        limit = bounds.time.at(both)
        self._bounds.add(limit.above / grid.dt)
        share = limit.share(deviation)
        self.largest_share = max(self.largest_share, float(share.max(initial=0)))
        # A neuron flips across the brink: its margin is positive if it spikes, and then too high by that at least.
        margin = bounds.margin.reshape(-1)[flips]
        of_flips = bounds.potential.at(flips).share(margin)
        self.widest_flip = max(self.widest_flip, float(np.abs(margin).max(initial=0)))
        self.widest_share = max(self.widest_share, float(of_flips.max(initial=0)))
        # written so that NaN is beyond its bound
        beyond = np.sort(np.concatenate([both[~(share <= 1)], flips[~(of_flips <= 1)]]))
        self.unexplained += len(beyond)
        if len(beyond) and not self.first:
            self.first = self._told(int(beyond[0]), closed, steps, grid, bounds, first_image)

    def add_potentials(
        self,
        closed: NDArray[np.float32],
        potentials: NDArray[np.float64],
        limit: Between | None,
        first: int,
    ) -> None:
        """Of a readout that does not fire: (images, classes). first: the first image's number."""
        deviation = potentials - closed
        self.neurons += closed.size
        self._add_deviations(deviation)
        if limit is None:
            self.has_bounds = False
            return
        share = limit.share(deviation)
        self.largest_share = max(self.largest_share, float(share.max(initial=0)))
        beyond = np.argwhere(~(share <= 1))
        self.unexplained += len(beyond)
        if len(beyond) and not self.first:
            image, neuron = (int(index) for index in beyond[0])
            self.first = (
                f"in {self.layer}, neuron {neuron} of image {first + image} ends with the potential "
                f"{potentials[image, neuron]:.6g}, by the closed form with {closed[image, neuron]:.6g}, "
                f"and steps explain {limit.below[image, neuron]:.2g} less to {limit.above[image, neuron]:.2g} more"
            )

    def _add_deviations(self, deviation: NDArray[np.float64]) -> None:
        size = np.abs(deviation)
        self.both += size.size
        self.largest = max(self.largest, float(size.max(initial=0)))
        self.total += float(size.sum())

    def _told(
        self,
        place: int,
        closed: NDArray[np.float32],
        steps: NDArray[np.int32],
        grid: TimeGrid,
        bounds: Bounds,
        first_image: int,
    ) -> str:
        image, y, x, channel = (int(index) for index in np.unravel_index(place, closed.shape))
        height, width = closed.shape[1:3]
        neuron = (channel * height + y) * width + x
        step, earliness = int(steps[image, y, x, channel]), float(closed[image, y, x, channel])
        simulated = "is silent" if step == NO_SPIKE else f"spikes at {step * grid.dt:.6g}"
        by_form = "is silent" if earliness == 0 else f"spikes at {grid.t_win - earliness:.6g}"
        if (step == NO_SPIKE) != (earliness == 0):
            limit, margin = bounds.potential, bounds.margin.reshape(-1)[place]
            most = limit.below if step == NO_SPIKE else limit.above
            explained = f"its margin is {abs(margin):.2g}, and steps explain {most.reshape(-1)[place]:.2g}"
        else:
            below, above = (float(side.reshape(-1)[place]) for side in (bounds.time.below, bounds.time.above))
            explained = f"steps explain {below:.2g} earlier to {above:.2g} later"
        return (
            f"in {self.layer}, neuron {neuron} of image {first_image + image} {simulated}, by the closed form it "
            f"{by_form}; {explained}"
        )
