"""What imprecise hardware would do to a trained network: spikes that jitter, come in steps, get lost; rounded weights.

Acts between layers, on what neurons fire and before it is pooled, and on the encoded images. No kernel of its own: a
watcher of Network.run changes each layer's output before the next one reads it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ttfs_cupy.common.checks import check_count, check_number
from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Layer, Weighted
from ttfs_cupy.engine.network import Network

# A late spike that jitter would move beyond its window fires at the window's last instant: T times this before its end.
LAST_INSTANT = 2.0**-23
# float32 holds no finer steps
MOST_BITS = 16


@dataclass(frozen=True)
class Noise:
    """What is done to spike times and weights.

    jitter: sigma of the Gaussian noise on each spike time, as a share of the window; a spike that would leave its
    window is clipped to it, and remains a spike. time_bits: spike times are rounded to the nearest of 2^bits steps, so
    that earliness is T k / 2^bits, k from 1 (no spike falls silent) to 2^bits; after any jitter. weight_bits: weights
    are rounded to the nearest of 2^(bits - 1) - 1 levels a side, the largest magnitude of each output channel being
    the outermost level. drop_spikes: with that probability a spike is lost, each by itself, so that its neuron is
    silent for all that it feeds; last of all, and what is not lost stays as it is. seed: of what is drawn, jitter and
    losses. The silent stay silent. Raises UserError for what is none of this.
    """

    jitter: float = 0.0
    time_bits: int | None = None
    weight_bits: int | None = None
    seed: int = 0
    drop_spikes: float = 0.0

    def __post_init__(self) -> None:
        check_number("jitter", self.jitter, 0, 1)
        if self.time_bits is not None:
            check_count("time_bits", self.time_bits, least=1, most=MOST_BITS)
        if self.weight_bits is not None:
            # one bit is the sign
            check_count("weight_bits", self.weight_bits, least=2, most=MOST_BITS)
        check_count("noise_seed", self.seed, least=0, most=2**64 - 1)
        check_number("drop_spikes", self.drop_spikes, 0, 1)

    @property
    def is_on(self) -> bool:
        return self.moves_spikes or self.weight_bits is not None

    @property
    def moves_spikes(self) -> bool:
        return self.jitter > 0 or self.time_bits is not None or self.drop_spikes > 0

    @property
    def is_drawn(self) -> bool:
        """Whether another seed is another noise."""
        return self.jitter > 0 or self.drop_spikes > 0

    def __str__(self) -> str:
        parts = [
            f"jitter of {self.jitter:g} of the window (seed {self.seed})" if self.jitter else "",
            f"spike times of {self.time_bits} bits" if self.time_bits is not None else "",
            f"weights of {self.weight_bits} bits" if self.weight_bits is not None else "",
            f"{100 * self.drop_spikes:g} % of spikes lost (seed {self.seed})" if self.drop_spikes else "",
        ]
        return ", ".join(filter(None, parts)) or "none"


def jittered(earliness: Array, drawn: Array, sigma: float, t_win: float) -> Array:
    """Earliness float32 with sigma * drawn added to each spike and clipped to its window.

    drawn: standard normal, float32; the result takes its place.
    """
    drawn *= np.float32(sigma)
    drawn += earliness
    drawn.clip(np.float32(t_win * LAST_INSTANT), np.float32(t_win), out=drawn)
    drawn *= earliness != 0
    return drawn


def in_steps(earliness: Array, bits: int, t_win: float, xp: ModuleType = np) -> Array:
    """Earliness float32 at the nearest of 2^bits steps of the window, but 0 for the silent alone."""
    steps = earliness * np.float32(2**bits / t_win)
    xp.rint(steps, out=steps)
    steps.clip(np.float32(1), np.float32(2**bits), out=steps)
    steps *= np.float32(t_win / 2**bits)
    steps *= earliness != 0
    return steps


def thinned(earliness: Array, drawn: Array, share: float) -> Array:
    """Earliness float32 without the spikes whose number is below `share`: these are silent, the others as they were.

    drawn: uniform in [0, 1), float32; at a share of 1 all are lost, at 0 none.
    """
    return earliness * (drawn >= np.float32(share))


def rounded_weights(weights: Array, bits: int, xp: ModuleType = np) -> Array:
    """float32 (..., out) at the nearest of 2^(bits - 1) - 1 levels a side, for each output channel its own."""
    levels = np.float32(2 ** (bits - 1) - 1)
    largest = xp.abs(weights).max(axis=tuple(range(weights.ndim - 1)), keepdims=True)
    # a channel without a weight above 0 has nothing to round; division by subnormal steps would overflow
    scale = xp.where(largest > 0, largest, np.float32(1))
    return (xp.rint(weights / scale * levels) / levels * scale).astype(np.float32)


class SpikeNoise:
    """Moves the spikes of a set of images, batch after batch.

    Numbers are drawn on the host, for each layer from generators of its own, one for jitter and one for losses: a seed
    means the same on every device, with batches of any size, and whatever else is on. Of one seed, what is lost at a
    low probability is lost at a higher one, too.
    """

    def __init__(self, network: Network, noise: Noise):
        self._device: Device = network.device
        self._noise = noise
        self._t_win = network.t_win
        self._encodes_spikes = network.encoder.is_spike_code
        names = ["", *(layer.name for layer in network.layers if layer.is_spiking)]
        seeds = np.random.SeedSequence(noise.seed).spawn(len(names))
        self._jitters = {name: _generator(seed) for name, seed in zip(names, seeds, strict=True)}
        # a key of three, as those of corrupted images have two (ttfs_cupy/data/corruption.py), those of jitter one
        losses = [np.random.SeedSequence(noise.seed, spawn_key=(*seed.spawn_key, 0, 0)) for seed in seeds]
        self._losses = {name: _generator(seed) for name, seed in zip(names, losses, strict=True)}

    def encoded(self, inputs: Array) -> Array:
        """The input code, moved too where it consists of spikes: pixels of a direct code, and standardised ones, have
        no spike times."""
        return self._moved("", inputs) if self._encodes_spikes else inputs

    def watch(self, layer: Layer, output: Array) -> None:
        """Moves a layer's spikes where they lie: a watcher of Network.run."""
        if layer.is_spiking:
            output[...] = self._moved(layer.name, output)

    def _moved(self, name: str, earliness: Array) -> Array:
        xp, noise = self._device.xp, self._noise
        if noise.jitter:
            drawn = self._jitters[name].standard_normal(earliness.shape, np.float32)
            earliness = jittered(earliness, self._device.to_device(drawn), noise.jitter * self._t_win, self._t_win)
        if noise.time_bits is not None:
            earliness = in_steps(earliness, noise.time_bits, self._t_win, xp)
        if noise.drop_spikes:
            drawn = self._losses[name].random(earliness.shape, np.float32)
            earliness = thinned(earliness, self._device.to_device(drawn), noise.drop_spikes)
        return earliness


def _generator(seed: np.random.SeedSequence) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@contextmanager
def weights_rounded(network: Network, noise: Noise) -> Iterator[None]:
    """Meanwhile the network has rounded weights; then its own again, bit for bit."""
    if noise.weight_bits is None:
        yield
        return
    layers = [layer for layer in network.layers if isinstance(layer, Weighted)]
    with network.turns.take(), network.device.current():
        own = [layer.weights.copy() for layer in layers]
        try:
            for layer in layers:
                layer.weights[...] = rounded_weights(layer.weights, noise.weight_bits, network.device.xp)
            yield
        finally:
            for layer, weights in zip(layers, own, strict=True):
                layer.weights[...] = weights
