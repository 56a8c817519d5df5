"""The same work on one batch after the other; on a GPU it is one CUDA graph, launched anew for every batch."""

import logging
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from ttfs_cupy.common.checks import check_count, check_kind
from ttfs_cupy.data import MixedLabels
from ttfs_cupy.device import Array
from ttfs_cupy.device.streams import NOT_RECORDED, Graph, Streams, refused_call
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.plan import Plan
from ttfs_cupy.engine.steps.feed import Feed
from ttfs_cupy.engine.validity import Labels

logger = logging.getLogger("ttfs_cupy")

# What the launches depend on: the batch size, whether psp_slope is above 0, whether the labels are mixed, and what else
# a kind of step has.
Kind = tuple[int, ...]


def is_blocking() -> bool:
    """Whether CUDA is to wait for each launch, for who looks for an error: a graph would hide which one it was."""
    return os.environ.get("CUDA_LAUNCH_BLOCKING", "0") != "0"


class BatchStep(ABC):
    """Work on up to `batch_size` images at a time: send() a batch, then run() on it.

    The first batch of a kind is worked on kernel by kernel, which loads the kernels and has cuBLAS set itself up; the
    second is recorded, and from then on replayed. Numbers that change from step to step lie in device memory, so a
    replay sees them. A network planned anew, whose arrays lie elsewhere, is recorded anew.

    Without graphs (on a CPU, with capture=False, with CUDA_LAUNCH_BLOCKING=1, or where a call cannot be recorded, of
    which a warning tells) all is launched kernel by kernel, with the same bits.

    One thread uses it: a batch that another one sends in between would be worked on instead.
    """

    # whether the network is planned for backward, too; and what a warning calls the work
    training: bool
    called: str

    def __init__(self, network: Network, batch_size: int, *, capture: bool = True):
        check_kind("network", network, Network)
        self._network = network
        self._batch_size = check_count("batch_size", batch_size)
        self._thread: int | None = None
        self._has_batch = False
        self._streams = network.device.streams
        self._captures = capture and not is_blocking()
        shape = network.layers[0].in_shape
        with network.device.current():
            self._feed = Feed(network.device, self._streams, batch_size, shape) if self._streams else None
        self._given: tuple[Array, Labels] | None = None
        self._plan: Callable[[], Plan | None] = lambda: None
        self._warm: set[Kind] = set()
        self._graphs: dict[Kind, Graph] = {}

    @property
    def graphs(self) -> int:
        """How many kinds of batches are recorded."""
        return len(self._graphs)

    def send(self, inputs: np.ndarray, labels: np.ndarray | MixedLabels) -> None:
        """Hands over a batch: encoded inputs, float32 (n, height, width, channels), and labels, int32 (n,), or
        MixedLabels.

        They stay as they are until run() has returned. On a GPU they are copied while the step before computes. Raises
        TypeError or ValueError for arrays that are none of this, for more than `batch_size` images, and in a thread
        other than the first that sent one.
        """
        self._check_thread()
        self._network.validity.check_host_batch(inputs, labels)
        if len(inputs) > self._batch_size:
            raise ValueError(f"a batch of {len(inputs)} images was sent to a step for up to {self._batch_size}")
        if self._feed is not None:
            with self._network.device.alone():
                self._feed.send(inputs, labels)
        else:
            device = self._network.device
            on_device = labels.to(device) if isinstance(labels, MixedLabels) else device.to_device(labels)
            self._given = device.to_device(inputs), on_device
        self._has_batch = True

    def _check_thread(self) -> None:
        current = threading.get_ident()
        if self._thread is None:
            self._thread = current
        elif self._thread != current:
            raise ValueError(f"a {type(self).__name__} serves one thread: make another one in each")

    def _require_batch(self) -> None:
        self._check_thread()
        if not self._has_batch:
            raise ValueError("there is no batch to work on: send() one first")

    def _kind(self, images: int, *, is_mixed: bool) -> Kind:
        """Of the launches for a batch of so many images, as the network is now."""
        return images, self._network.psp_slope != 0, is_mixed

    @abstractmethod
    def _work(self, inputs: Array, labels: Labels) -> None:
        """What is done with a batch: launches only."""

    def run(self) -> None:
        """Works on the batch sent last. Nothing is read back: it returns before a GPU has done it.

        Raises ValueError if none was sent, and for values that are no batch, such as labels outside the classes; on a
        GPU it is whoever next reads something that raises it.
        """
        self._require_batch()
        if self._streams is None or self._feed is None:
            assert self._given is not None
            with self._network.turns.call():
                self._work(*self._given)
            return
        with self._network.turns.call():
            self._network.plan(self._batch_size, training=self.training)
            with self._streams.step():
                self._launch(self._streams, *self._feed.take())

    def _launch(self, streams: Streams, inputs: Array, labels: Labels) -> None:
        network = self._network
        if self._plan() is not network.planned:
            # what is still running must not lose its graph
            network.device.synchronize()
            self._graphs.clear()
            self._warm.clear()
            # a weak reference: a plan that the network gives up must give its memory back
            assert network.planned is not None
            self._plan = weakref.ref(network.planned)

        def step() -> None:
            self._work(inputs, labels)

        kind = self._kind(len(inputs), is_mixed=isinstance(labels, MixedLabels))
        if kind in self._warm and kind not in self._graphs and self._captures:
            self._record(streams, kind, step)
        if kind in self._graphs:
            self._graphs[kind].launch()
            network.last_inputs = inputs
        else:
            step()
            self._warm.add(kind)

    def _record(self, streams: Streams, kind: Kind, step: Callable[[], None]) -> None:
        try:
            self._graphs[kind] = streams.capture(step)
        except NOT_RECORDED as error:
            self._captures = False
            logger.warning(
                "%s are launched kernel by kernel, not as one CUDA graph: %s cannot be recorded: %s",
                *(self.called, refused_call(error), error),
            )
