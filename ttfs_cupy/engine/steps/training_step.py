"""Training steps one after the other; on a GPU each is one CUDA graph, launched anew for every batch.

Where gradients are exchanged by an NCCL that cannot be recorded, it is two, with the exchange between them.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from ttfs_cupy.common.checks import check_count, check_kind
from ttfs_cupy.device import Array
from ttfs_cupy.device.streams import Graph, Streams
from ttfs_cupy.engine.accumulation import GradientSum
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.loss import check_smoothing, class_weights_on
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.steps.batch_step import BatchStep, Kind, Part, is_blocking
from ttfs_cupy.engine.steps.supply import Supply
from ttfs_cupy.engine.validity import Labels
from ttfs_cupy.ranks.all_reduce import AllReduce

logger = logging.getLogger("ttfs_cupy")


class TrainingStep(BatchStep):
    """Steps of an optimiser, of up to `batch_size` images each. Of a share of a batch the gradient is its part of the
    whole batch's, 0 where it has no images.

    average: follows each step's weights. accumulate: of how many batches a step is; their gradients are added, weighted
    by their images, and every so many calls of run() the optimiser takes one step. flush() takes it earlier, as at an
    epoch's end. A batch that is none, or whose gradient is not finite, costs its whole group the step; where run()
    raises for a batch, the group ends, and the next batch begins another.

    The learning rate and psp_slope may change between two steps; the optimiser's other settings are those of the
    recording. label_smoothing: the share of a target that all classes have evenly, from 0 to below 1. class_weights: by
    what an image's loss is multiplied, numbers above 0 by class; None for 1 (docs/model.md, "Classes of uneven size").

    all_reduce: what sums up parameters.gradients over the ranks of a run, before every step of the optimiser; it goes
    on while backward does, unless gradients of several batches are added first. All ranks make this step together,
    and all record it, or none does. They make the same calls, and an exception at one of them ends the run. With it
    run() and flush() raise LostRankError, too.
    """

    training = True
    called = "training steps"

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        batch_size: int,
        *,
        accumulate: int = 1,
        capture: bool = True,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | np.ndarray | None = None,
        average: WeightAverage | None = None,
        all_reduce: AllReduce | None = None,
    ):
        super().__init__(network, batch_size, capture=capture)
        network.check_optimizer(optimizer)
        if average is not None:
            check_kind("average", average, WeightAverage)
            if average.optimizer is not optimizer:
                raise ValueError("the average must be of this optimiser's weights: WeightAverage(optimizer, decay)")
        if all_reduce is not None and all_reduce.gradients is not network.parameters.gradients:
            raise ValueError("all_reduce must be of this network's parameters.gradients")
        self._accumulate = check_count("accumulate", accumulate)
        self._optimizer = optimizer
        # of the loss, as Network.differentiate takes them; the weights lie where a recorded step reads them
        self._loss = check_smoothing(label_smoothing), class_weights_on(network.device, class_weights, network.classes)
        self._average = average
        self._all_reduce = all_reduce
        self._starts = network.parameters.starts
        self._sum = GradientSum(network.device, network.parameters) if self._accumulate > 1 else None
        # of the group that has begun, without the batch at hand
        self._batches = self._images = 0
        refused = "CUDA_LAUNCH_BLOCKING is set" if is_blocking() else None if capture else "capture=False"
        if all_reduce is not None:
            # all ranks record, or none
            refused = all_reduce.refused(refused)
        self._captures = refused is None
        if network.device.streams is not None and capture and refused is not None:
            logger.info("all is launched kernel by kernel, not as one CUDA graph: %s", refused)

    @property
    def has_begun(self) -> bool:
        """Whether there are batches that the optimiser has not taken a step for."""
        return self._batches > 0

    def run(self) -> None:
        """Works on the batch at hand, and takes the optimiser's step if that ends its group. Nothing is read back: it
        returns before a GPU has done it.

        Raises ValueError as BatchStep.run() does, and while averaged weights are in place.
        """
        # here, too: a graph that is launched again does not ask the optimiser
        self._network.parameters.require_own_values()
        supply = self._require_batch()
        batches, images = self._batches + 1, self._images + supply.images
        try:
            super().run()
            if self._all_reduce is not None:
                self._all_reduce.check()
        except BaseException:
            self.drop()
            if self._all_reduce is not None:
                self._all_reduce.drop()
            raise
        self._batches, self._images = (0, 0) if batches == self._accumulate else (batches, images)

    def flush(self) -> None:
        """Takes the optimiser's step for the batches of a group that has begun; without one nothing is done."""
        self._check_thread()
        if not self.has_begun:
            return
        self._network.parameters.require_own_values()
        images = self._images
        self.drop()
        with self._network.turns.call():
            if self._streams is None:
                self._update(images)
                return
            with self._streams.step():
                self._update(images)

    def drop(self) -> None:
        """Forgets the batches of a group that has begun."""
        self._batches = self._images = 0

    def _kind(self, supply: Supply) -> Kind:
        kind = super()._kind(supply)
        if self._sum is None:
            return kind
        # the first of a group, one in between, or the last, which divides by the group's images
        return *kind, not self._batches, self._images + supply.images if self._ends_group else 0

    @property
    def _ends_group(self) -> bool:
        """Whether the batch at hand is the last of its group."""
        return self._batches + 1 == self._accumulate

    def _parts(self, supply: Supply) -> Sequence[Part]:
        exchange = self._all_reduce
        if exchange is None or exchange.is_recordable or not self._ends_group:
            return super()._parts(supply)
        return [
            Part(lambda: self._differentiate(*supply.make(), supply.images)),
            Part(exchange.finish, is_recorded=False),
            Part(self._step),
        ]

    def _capture(self, streams: Streams, work: Callable[[], None]) -> Graph:
        if self._all_reduce is None:
            return super()._capture(streams, work)
        return self._all_reduce.captured(lambda: streams.capture(work))

    def _work(self, inputs: Array, labels: Labels, images: int) -> None:
        self._differentiate(inputs, labels, images)
        if self._ends_group:
            self._exchange()
            self._step()

    def _differentiate(self, inputs: Array, labels: Labels, images: int) -> None:
        """Leaves in parameters.gradients those of the batch, or at its group's end those of the group."""
        if len(inputs):
            done = self._hand_over if self._sum is None else None
            self._network.differentiate(inputs, labels, *self._loss, images, done=done)
        else:
            self._network.parameters.zero_gradients()
        if self._sum is not None:
            self._sum.add(images, is_first=not self._batches)
            if self._ends_group:
                self._sum.to_mean(self._images + images)

    def _hand_over(self, layer: Layer) -> None:
        """Has the exchange begin with the gradients of that layer, and of those above it."""
        if self._all_reduce is not None and layer.has_weights:
            self._all_reduce.ready(self._starts[layer.name])

    def _exchange(self) -> None:
        if self._all_reduce is not None:
            self._all_reduce.finish()

    def _step(self) -> None:
        """The optimiser's step, by what lies in parameters.gradients; and what follows the weights."""
        self._optimizer.step()
        if self._average is not None:
            self._average.follow()

    def _update(self, images: int) -> None:
        """What remains to be done for a group of so many images."""
        assert self._sum is not None
        self._sum.to_mean(images)
        self._exchange()
        self._step()
