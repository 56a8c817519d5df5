"""Training steps one after the other; on a GPU each is one CUDA graph, launched anew for every batch."""

import logging

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.device import Array
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.loss import check_smoothing
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.steps.batch_step import BatchStep, is_blocking
from ttfs_cupy.engine.validity import Labels

logger = logging.getLogger("ttfs_cupy")


class TrainingStep(BatchStep):
    """Steps of an optimiser, of up to `batch_size` images each. average: follows each step's weights.

    The learning rate and psp_slope may change between two steps; the optimiser's other settings are those of the
    recording. label_smoothing: the share of a target that all classes have evenly, from 0 to below 1.
    """

    training = True
    called = "training steps"

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        batch_size: int,
        *,
        capture: bool = True,
        label_smoothing: float = 0.0,
        average: WeightAverage | None = None,
    ):
        super().__init__(network, batch_size, capture=capture)
        network.check_optimizer(optimizer)
        if average is not None:
            check_kind("average", average, WeightAverage)
            if average.optimizer is not optimizer:
                raise ValueError("the average must be of this optimiser's weights: WeightAverage(optimizer, decay)")
        self._optimizer = optimizer
        self._label_smoothing = check_smoothing(label_smoothing)
        self._average = average
        if network.device.streams is not None and is_blocking():
            logger.info("all is launched kernel by kernel, not as one CUDA graph: CUDA_LAUNCH_BLOCKING is set")

    def _work(self, inputs: Array, labels: Labels) -> None:
        self._network.train_step(inputs, labels, self._optimizer, self._label_smoothing)
        if self._average is not None:
            self._average.follow()
