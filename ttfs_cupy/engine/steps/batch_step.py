"""The same work on one batch after the other; on a GPU it is one CUDA graph, launched anew for every batch."""

import logging
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.common.checks import check_count, check_kind
from ttfs_cupy.data import Batches, MixedLabels
from ttfs_cupy.data.production import Production
from ttfs_cupy.device import Array
from ttfs_cupy.device.streams import NOT_RECORDED, Graph, Streams, refused_call
from ttfs_cupy.engine.loss import check_images
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.plan import Plan
from ttfs_cupy.engine.steps.supply import Made, Sent, Supply
from ttfs_cupy.engine.validity import Labels

logger = logging.getLogger("ttfs_cupy")

# What the launches depend on: how many images are here and how many the whole batch has, whether psp_slope is above 0,
# whether the labels are mixed, and what else a kind of step has.
Kind = tuple[int, ...]

# Of how many sets a step keeps the arrays and graphs: those for training, validation and test, and one more
MOST_SETS = 4


@dataclass(frozen=True)
class Part:
    """Of the work on a batch. is_recorded: whether it is a graph where there are graphs, or is called every time."""

    call: Callable[[], None]
    is_recorded: bool = True


def is_blocking() -> bool:
    """Whether CUDA is to wait for each launch, for who looks for an error: a graph would hide which one it was."""
    return os.environ.get("CUDA_LAUNCH_BLOCKING", "0") != "0"


class BatchStep(ABC):
    """Work on up to `batch_size` images at a time: send() a batch, then run() on it; or run() on each() batch of a set.
    Where several ranks share batches, these are the images of one rank.

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
        self._streams = network.device.streams
        self._captures = capture and not is_blocking()
        self._sent: Sent | None = None
        self._made: dict[Batches, Made] = {}
        self._at_hand: Supply | None = None
        self._plan: Callable[[], Plan | None] = lambda: None
        self._warm: set[tuple[Supply, Kind]] = set()
        # one after the other
        self._graphs: dict[tuple[Supply, Kind], list[Callable[[], None]]] = {}

    @property
    def graphs(self) -> int:
        """How many kinds of batches are recorded."""
        return len(self._graphs)

    def send(self, inputs: np.ndarray, labels: np.ndarray | MixedLabels, images: int | None = None) -> None:
        """Hands over a batch: encoded inputs, float32 (n, height, width, channels), and labels, int32 (n,), or
        MixedLabels. images: how many the whole batch has, of which these are a rank's share, one at least; None: n.

        They stay as they are until run() has returned. On a GPU they are copied while the step before computes. Raises
        TypeError or ValueError for arrays that are none of this, for more than `batch_size` images, for a batch of
        fewer than its share has, and in a thread other than the first that sent one.
        """
        self._check_thread()
        self._network.validity.check_host_batch(inputs, labels)
        if len(inputs) > self._batch_size:
            raise ValueError(f"a batch of {len(inputs)} images was sent to a step for up to {self._batch_size}")
        images = check_images(images, len(inputs))
        if self._sent is None:
            with self._network.device.current():
                self._sent = Sent(self._network.device, self._batch_size, self._network.layers[0].in_shape)
        self._sent.send(inputs, labels, images)
        self._at_hand = self._sent

    def each(self, batches: Batches, epoch: int, first: int = 0) -> Iterator[int]:
        """Has the batches of an epoch, from 0, made on the device, one after the other: run() works on the one at hand,
        whose number of images this gives, once; of several ranks each on its share. On a GPU they are a part of the
        step's graph.

        first: the number, from 0, of the batch to begin with; those before it are passed over.
        Raises UserError for an epoch below 0 and a first batch that the epoch has not, and TypeError or ValueError for
        batches that do not suit the network, or of more than `batch_size` images, in a thread other than the first, for
        a batch that comes before the last one was worked on, and after another epoch of these batches has begun.
        """
        self._check_thread()
        check_kind("batches", batches, Batches)
        epoch = check_count("an epoch's number", epoch, least=0)
        first = check_count("the first batch's number", first, least=0, most=len(batches))
        return self._each(self._supply(batches), batches, epoch, first)

    def _each(self, made: Made, batches: Batches, epoch: int, first: int) -> Iterator[int]:
        begun = made.begin(epoch, first * batches.batch_size)
        for number in range(first, len(batches)):
            with self._network.device.alone():
                made.send(begun, number, batches.size(number))
            self._at_hand = made
            yield made.images

    def _supply(self, batches: Batches) -> Made:
        """What makes these batches; kept, since graphs are recorded with its arrays."""
        made = self._made.pop(batches, None)
        if made is None:
            self._network.validity.check_batches(batches)
            most = batches.share.most(batches.batch_size)
            if most > self._batch_size:
                raise ValueError(f"batches of {most} images are for a step of up to {self._batch_size}")
            if len(self._made) == MOST_SETS:
                self._forget(next(iter(self._made)))
            made = Made(Production(batches, self._network.device))
        # the last of them is the one used last
        self._made[batches] = made
        return made

    def _forget(self, batches: Batches) -> None:
        # what is still running must not lose its graph
        self._network.device.synchronize()
        gone = self._made.pop(batches)
        gone.end()
        self._graphs = {key: graph for key, graph in self._graphs.items() if key[0] is not gone}
        self._warm = {key for key in self._warm if key[0] is not gone}

    def _check_thread(self) -> None:
        current = threading.get_ident()
        if self._thread is None:
            self._thread = current
        elif self._thread != current:
            raise ValueError(f"a {type(self).__name__} serves one thread: make another one in each")

    def _require_batch(self) -> Supply:
        self._check_thread()
        if self._at_hand is None or not self._at_hand.is_at_hand:
            raise ValueError("there is no batch to work on: send() one first, or have each() make the next")
        return self._at_hand

    def _kind(self, supply: Supply) -> Kind:
        """Of the launches for its batch, as the network is now."""
        return supply.rows, supply.images, self._network.psp_slope != 0, supply.is_mixed

    @abstractmethod
    def _work(self, inputs: Array, labels: Labels, images: int) -> None:
        """What is done with a batch: launches only. images: how many the whole batch has, of which there may be none
        here."""

    def _parts(self, supply: Supply) -> Sequence[Part]:
        """What is done with its batch on a GPU, one part after the other."""
        return [Part(lambda: self._work(*supply.make(), supply.images))]

    def run(self) -> None:
        """Works on the batch at hand. Nothing is read back: it returns before a GPU has done it.

        Raises ValueError if there is none, and for values that are no batch, such as labels outside the classes; on a
        GPU it is whoever next reads something that raises it.
        """
        supply = self._require_batch()
        with self._network.turns.call():
            if self._streams is None:
                supply.take()
                self._work(*supply.make(), supply.images)
                return
            self._network.plan(self._batch_size, training=self.training)
            with self._streams.step():
                supply.take()
                self._launch(self._streams, supply)

    def _launch(self, streams: Streams, supply: Supply) -> None:
        network = self._network
        if self._plan() is not network.planned:
            # what is still running must not lose its graph
            network.device.synchronize()
            self._graphs.clear()
            self._warm.clear()
            # a weak reference: a plan that the network gives up must give its memory back
            assert network.planned is not None
            self._plan = weakref.ref(network.planned)

        kind, parts = (supply, self._kind(supply)), self._parts(supply)
        if kind in self._warm and kind not in self._graphs and self._captures:
            self._record(streams, kind, parts)
        if kind in self._graphs:
            for launch in self._graphs[kind]:
                launch()
            if supply.rows:
                network.last_inputs = supply.inputs()
        else:
            for part in parts:
                part.call()
            self._warm.add(kind)

    def _record(self, streams: Streams, kind: tuple[Supply, Kind], parts: Sequence[Part]) -> None:
        try:
            self._graphs[kind] = [
                self._capture(streams, part.call).launch if part.is_recorded else part.call for part in parts
            ]
        except NOT_RECORDED as error:
            self._captures = False
            logger.warning(
                "%s are launched kernel by kernel, not as one CUDA graph: %s cannot be recorded: %s",
                *(self.called, refused_call(error), error),
            )

    def _capture(self, streams: Streams, work: Callable[[], None]) -> Graph:
        """Raises one of NOT_RECORDED where it cannot be recorded."""
        return streams.capture(work)
