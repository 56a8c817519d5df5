"""Which variants of cooperative kernels a device runs: those of vgg7 and vgg11, tuned or not, and of check's shapes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np

from ttfs_cupy.benchmarks.workload import CLASSES, LEARNING_RATE, WORKLOADS
from ttfs_cupy.check.algorithms import IMAGES, SHAPES
from ttfs_cupy.check.network import TINY_BATCH, TINY_INPUT, TINY_NETWORK
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.plan import stages_of
from ttfs_cupy.engine.steps.firing_rates import FiringRates
from ttfs_cupy.models import build
from ttfs_cupy.neuron import Neuron, PotentialReadout, PspSlope, SpikingNeuron

BATCH = 128

# What a thread is taken to need where that is not known yet: with it every candidate fits.
REGISTERS = 128


@dataclass(frozen=True)
class Use:
    """A layer as it is run. flat: a full connection. fires: its neurons do; a readout's do not."""

    shape: ConvolutionShape
    batch_size: int
    pooled: bool = False
    flat: bool = False
    fires: bool = True


class Listing:
    """In all that decides what is launched the device itself; launches nothing, and lists what it is asked for."""

    xp: ModuleType = np

    def __init__(self, device: Device):
        self._device = device
        self.variants: dict[Variant, None] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        pass

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        self.variants[variant] = None

    def registers(self, variant: Variant) -> int:
        self.variants[variant] = None
        return REGISTERS

    def compile_ahead(self, variants: Iterable[Variant]) -> None:
        self.variants |= dict.fromkeys(variants)

    def multiply(self, *stacks: Any, **options: Any) -> None:
        pass

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        for task in range(tasks):
            body(task, 0)

    def to_device(self, array: Array) -> Array:
        return np.ascontiguousarray(array)


def variants_of(device: Device) -> list[Variant]:
    """Each once, in the order in which they are met."""
    listing = Listing(device)
    uses = [Use(shape, IMAGES, pooled) for shape, pooled in SHAPES]
    models_of = [(workload.spec, workload.input_shape, BATCH) for workload in WORKLOADS.values()]
    for model, input_shape, batch_size in ((TINY_NETWORK, TINY_INPUT, TINY_BATCH), *models_of):
        network = build(list(model), input_shape, CLASSES, device=listing)
        uses += _uses(network, batch_size)
        _train_and_evaluate(listing, network, batch_size)
    for use in dict.fromkeys(uses):
        for neuron in _neurons(listing, use):
            for algorithm in _algorithms(listing, use):
                for which, pooled in product(PASSES, {False, use.pooled and algorithm.joins_pooling}):
                    has_weight_sum = neuron.needs_weight_sum
                    listing.compile_ahead(
                        algorithm.kernels(which, use.batch_size, neuron, has_weight_sum=has_weight_sum, pooled=pooled)
                    )
    return list(listing.variants)


def _uses(network: Network, batch_size: int) -> Iterator[Use]:
    """Its layers: those before a pooling are tuned without it, and then run with it."""
    for stage in stages_of(network.layers):
        layer = stage.layer
        if isinstance(layer, Weighted):
            yield Use(layer.shape, batch_size, stage.pool is not None, layer.flat, layer.is_spiking)


def _train_and_evaluate(device: Device, network: Network, batch_size: int) -> None:
    """What is neither layer nor pooling: the loss, the update, the firing rates."""
    images, labels = np.zeros((batch_size, *network.layers[0].in_shape), np.float32), np.zeros(batch_size, np.int32)
    network.train_step(images, labels, Adam(device, network.parameters, LEARNING_RATE))
    network.run(images, watch=FiringRates(network).watch)


def _neurons(device: Device, use: Use) -> list[Neuron]:
    slopes = [PspSlope(device, slope) for slope in (1.0, 0.0)]
    if not use.fires:
        return [PotentialReadout(device, 1.0, slope) for slope in slopes]
    clipped = [SpikingNeuron(device, 1.0, slope) for slope in slopes]
    return [*clipped, SpikingNeuron(device, 1.0, slopes[0], clip="separate")]


def _algorithms(device: Device, use: Use) -> Iterator[Algorithm]:
    """Each lists the candidates that it weighs, which are those that the tuner times."""
    for kind in algorithms().values():
        if kind.fits(use.shape, device) is None and (kind.connects or not use.flat):
            yield kind(device, use.shape)
