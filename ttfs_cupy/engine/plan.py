"""Where everything lies while a batch passes through a network: one arena, laid out by lifetime.

Moments count the work in its order: with n stages, stage i goes forward at moment i, the loss is taken at n, and stage
i goes backward at 2 n - i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.algorithm import Pass
from ttfs_cupy.convolution.shape import Activations
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.launcher import count_trouble
from ttfs_cupy.engine.arena import Arena, Slot
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted


@dataclass(frozen=True)
class Stage:
    """What runs as one: a layer, or a convolution and the pooling that its algorithm does as neurons fire."""

    layer: Layer
    pool: MaxPool | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self.layer,) if self.pool is None else (self.layer, self.pool)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        return self.layers[-1].out_shape

    @property
    def needs_weight_sum(self) -> bool:
        return isinstance(self.layer, Weighted) and self.layer.neuron.needs_weight_sum

    def workspace(self, batch_size: int, *passes: Pass) -> int:
        """float32 values of scratch memory for the greediest of these passes."""
        if not isinstance(self.layer, Weighted):
            return 0
        return max(self.layer.algorithms.of(which).workspace(batch_size, which) for which in passes)


def stages_of(layers: Sequence[Layer]) -> list[Stage]:
    """The layers in a row, pooling joined to the convolution below it wherever that can do it."""
    stages: list[Stage] = []
    for layer in layers:
        below = stages[-1].layer if stages and stages[-1].pool is None else None
        joins = isinstance(below, Weighted) and below.algorithms.joins_pooling and not below.flat
        if isinstance(layer, MaxPool) and layer.can_be_joined and joins:
            assert below is not None
            stages[-1] = Stage(below, layer)
        else:
            stages.append(Stage(layer))
    return stages


@dataclass(frozen=True)
class StageSlots:
    """A stage's places: what it leaves, dLoss/d(output), its neurons before pooling where somebody watches, scratch."""

    output: Slot
    weight_sum: Slot | None
    winner: Slot | None
    grad: Slot | None
    unpooled: Slot | None
    forward_workspace: Slot
    backward_workspace: Slot | None

    def activations(self, batch_size: int, *, with_weight_sum: bool) -> Activations:
        whole = Activations(self.output.array, _array(self.weight_sum), _array(self.winner))
        return whole.of(batch_size, with_weight_sum=with_weight_sum)


class Plan:
    """The arena of a network for up to `batch_size` images. Nothing is allocated before allocate()."""

    def __init__(self, stages: Sequence[Stage], batch_size: int, *, training: bool):
        self.stages = list(stages)
        self.batch_size = batch_size
        self.training = training
        self._arena = Arena()
        self.slots = [self._reserve(index, stage) for index, stage in enumerate(self.stages)]

    @property
    def bytes(self) -> int:
        return self._arena.bytes

    def allocate(self, device: Device) -> None:
        """Takes the memory. Raises UserError that says what it needs, what is free, and what would fit; and for a batch
        that has more elements than kernels can count."""
        for layer in (stage.layer for stage in self.stages):
            if trouble := count_trouble(
                f"a batch of {self.batch_size}, layer {layer.name}", layer.reach(self.batch_size)
            ):
                raise UserError(trouble)
        free = device.free_bytes()
        if self.bytes > free:
            raise UserError(
                f"a batch of {self.batch_size} needs {self.bytes / 2**20:,.0f} MiB for {self._purpose} on "
                f"{device.name}, where {free / 2**20:,.0f} MiB are free; {self._advice(free)}"
            )
        self._arena.allocate(device.xp.empty(self.bytes, np.uint8))

    def _reserve(self, index: int, stage: Stage) -> StageSlots:
        """The places of one stage, each for as long as something needs what lies there."""
        count, batch_size, reserve = len(self.stages), self.batch_size, self._arena.reserve
        backward = 2 * count - index
        # the stage above reads the output, and in training both stages' backward passes do
        last = backward if self.training else index + 1
        shape = (batch_size, *stage.out_shape)
        pools = isinstance(stage.layers[-1], MaxPool)
        keeps_sum = self.training and stage.layer.is_spiking
        hands_on = self.training and index < count - 1
        full = (batch_size, *stage.layer.out_shape)
        return StageSlots(
            output=reserve(shape, index, last),
            weight_sum=reserve(shape, index, last) if keeps_sum else None,
            winner=reserve(shape, index, last, np.uint8) if pools else None,
            grad=reserve(shape, backward - 1, backward) if hands_on else None,
            unpooled=reserve(full, index, index) if stage.pool is not None else None,
            forward_workspace=reserve((stage.workspace(batch_size, "forward"),), index, index),
            backward_workspace=reserve((self._backward_workspace(index, stage),), backward, backward)
            if self.training
            else None,
        )

    def _backward_workspace(self, index: int, stage: Stage) -> int:
        passes: tuple[Pass, ...] = ("weight_gradient", "data_gradient") if index else ("weight_gradient",)
        of_potentials = stage.layer.potential_workspace(self.batch_size) if isinstance(stage.layer, Weighted) else 0
        return max(stage.workspace(self.batch_size, *passes), of_potentials)

    @property
    def _purpose(self) -> str:
        return "training" if self.training else "inference"

    def _advice(self, free: int) -> str:
        """The largest batch that fits, by bisection over plans."""
        fits, too_large = 0, self.batch_size
        while too_large - fits > 1:
            middle = (fits + too_large) // 2
            if Plan(self.stages, middle, training=self.training).bytes <= free:
                fits = middle
            else:
                too_large = middle
        return f"the largest batch that fits is {fits}" if fits else "not even one image fits"


def _array(slot: Slot | None) -> Array | None:
    return None if slot is None else slot.array
