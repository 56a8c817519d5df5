"""A simulated layer beside the closed form, neuron by neuron: deviations, flips, and what neither explains."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.simulation.bounds import Bounds
from ttfs_cupy.simulation.time_grid import NO_SPIKE, TimeGrid


@dataclass
class LayerComparison:
    """A layer's neurons over all images that were added.

    spikes: of the closed form. both: neurons that spiked on both sides, of which the others tell: the largest and the
    mean deviation of a spike time, and the largest as a share of its bound (nan without bounds). flips: neurons that
    spiked on one side alone; widest_flip: the largest margin of one, widest_share the same as a share of what explains
    it. For a readout that does not fire, deviations are of its potentials, and there are no flips.
    unexplained: neurons beyond their bounds; first: a sentence about the first one.
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
        deviation = np.abs(steps.reshape(-1)[both] * grid.dt - times)
        self._add_deviations(deviation)
        self.flips += len(flips)
        if bounds is None:
            self.has_bounds = False
            return
        limit = bounds.time.reshape(-1)[both]
        share = deviation / limit
        self.largest_share = max(self.largest_share, float(share.max(initial=0)))
        margin = np.abs(bounds.margin.reshape(-1)[flips])
        of_flips = margin / bounds.potential.reshape(-1)[flips]
        self.widest_flip = max(self.widest_flip, float(margin.max(initial=0)))
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
        limit: NDArray[np.float64] | None,
        first: int,
    ) -> None:
        """Of a readout that does not fire: (images, classes). first: the first image's number."""
        deviation = np.abs(potentials - closed)
        self.neurons += closed.size
        self._add_deviations(deviation)
        if limit is None:
            self.has_bounds = False
            return
        share = deviation / limit
        self.largest_share = max(self.largest_share, float(share.max(initial=0)))
        beyond = np.argwhere(~(share <= 1))
        self.unexplained += len(beyond)
        if len(beyond) and not self.first:
            image, neuron = (int(index) for index in beyond[0])
            self.first = (
                f"in {self.layer}, neuron {neuron} of image {first + image} ends with the potential "
                f"{potentials[image, neuron]:.6g}, by the closed form with {closed[image, neuron]:.6g}, "
                f"and steps explain at most {limit[image, neuron]:.2g}"
            )

    def _add_deviations(self, deviation: NDArray[np.float64]) -> None:
        self.both += deviation.size
        self.largest = max(self.largest, float(deviation.max(initial=0)))
        self.total += float(deviation.sum())

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
            margin, limit = bounds.margin[image, y, x, channel], bounds.potential[image, y, x, channel]
            explained = f"its margin is {abs(margin):.2g}, and steps explain {limit:.2g}"
        else:
            explained = f"steps explain at most {bounds.time[image, y, x, channel]:.2g}"
        return (
            f"in {self.layer}, neuron {neuron} of image {first_image + image} {simulated}, by the closed form it "
            f"{by_form}; {explained}"
        )
