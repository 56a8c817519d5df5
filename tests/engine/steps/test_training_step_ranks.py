"""Training over several ranks, as threads here: the gradients of one rank, the same bits at all, the same decisions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.ranks import Meeting, ThreadsWire, of_each_rank

from ttfs_cupy import models
from ttfs_cupy.data import Batches, ImageSet, Share
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Limits, Sgd, StepCounts
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.ranks import all_reduce
from ttfs_cupy.ranks.all_reduce import AllReduce, HostAllReduce, all_reduce_of

SHAPE, CLASSES = (1, 8, 8), 3
SPEC = [8, 16, "P", {"convolution": 16}, {"linear": 12}]
# per rank: of the last batch some of four ranks have none
IMAGES, BATCH = 23, 7
RULES: dict[str, dict[str, Any]] = {
    "plain": {"psp_slope": 0.0},
    "slope": {"psp_slope": 0.3},
    "potentials": {"initial_potential": True, "psp_slope": 0.1},
    "standardised": {"normalization": "weight"},
}


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_reduce, "SMALLEST_BYTES", 256)


def _set() -> ImageSet:
    draw = np.random.default_rng(1)
    pixels = draw.integers(0, 256, (IMAGES, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
    return ImageSet(pixels, draw.integers(0, CLASSES, IMAGES).astype(np.int32), 255)


class Rank:
    """One of `size`, on a device of its own. spoils: of which call of the wire this rank's part is not finite."""

    def __init__(
        self,
        meeting: Meeting | None,
        rank: int = 0,
        *,
        rule: str = "plain",
        limits: Limits | None = None,
        adam: bool = False,
        accumulate: int = 1,
        decay: float | None = None,
        spoils: int | None = None,
    ):
        device = CpuDevice(1)
        self.share = Share(rank, meeting.size if meeting else 1)
        self.net: Network = models.build(SPEC, SHAPE, CLASSES, device, seed=3, **RULES[rule])
        parameters = self.net.parameters
        kind = Adam if adam else Sgd
        self.optimizer = kind(device, parameters, 1e-2, limits=limits)
        self.average = None if decay is None else WeightAverage(self.optimizer, decay)
        self.wire = SpoiltWire(meeting, rank, spoils) if meeting else None
        self.exchange: AllReduce | None = None
        if self.wire is not None:
            places = parameters.starts.values(), parameters.decayed
            self.exchange = all_reduce_of(device, self.wire, parameters.gradients, *places)
        self.step = TrainingStep(
            *(self.net, self.optimizer, self.share.most(BATCH)),
            accumulate=accumulate,
            average=self.average,
            all_reduce=self.exchange,
        )
        self.batches = Batches(_set(), BATCH, encode=self.net.encoder, shuffle=True, share=self.share)

    def train(self, epochs: int, watch: Callable[["Rank"], None] | None = None) -> "Rank":
        for epoch in range(epochs):
            for _ in self.step.each(self.batches, epoch):
                self.step.run()
                if watch is not None:
                    watch(self)
            self.step.flush()
        if self.exchange is not None:
            self.exchange.close()
        return self

    def bits(self) -> list[bytes]:
        arrays = [self.net.parameters.trained, *self.optimizer.state_dict().values()]
        if self.average is not None:
            arrays += self.average.state_dict().values()
        return [np.asarray(array).tobytes() for array in arrays]


class SpoiltWire(ThreadsWire):
    def __init__(self, meeting: Meeting, rank: int, spoilt: int | None):
        super().__init__(meeting, rank)
        self._spoilt = spoilt

    def all_reduce(self, array: np.ndarray) -> None:
        if len(self.calls) == self._spoilt:
            array[-1] = np.nan
        super().all_reduce(array)


def ranks(size: int, *, epochs: int = 5, delay: float = 0.0, spoils: int | None = None, **options: Any) -> list[Rank]:
    """Trained together. spoils: of rank 1's part."""
    meeting = Meeting(size, delay)

    def work(rank: int) -> Rank:
        try:
            return Rank(meeting, rank, spoils=spoils if rank == 1 else None, **options).train(epochs)
        except BaseException:
            meeting.barrier.abort()
            raise

    return of_each_rank(size, work)


def gradients(rank: Rank, kept: list[dict[str, np.ndarray]]) -> Rank:
    """What the optimiser sees in the first batches, all with the weights that were drawn, so that nothing jumps."""
    rank.optimizer.lr = 0.0
    return rank.train(2, lambda rank: kept.append(rank.net.parameters.gradient_dict()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_gradients_are_those_of_one_rank_layer_by_layer(size: int, rule: str) -> None:
    expected: list[dict[str, np.ndarray]] = []
    gradients(Rank(None, rule=rule), expected)
    meeting = Meeting(size)
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in range(size)]
    of_each_rank(size, lambda rank: gradients(Rank(meeting, rank, rule=rule), found[rank]))
    assert len(expected) == 8
    for of_rank in found:
        for batch, alone in zip(of_rank, expected, strict=True):
            for name, array in by_layer(alone).items():
                difference = np.linalg.norm(by_layer(batch)[name] - array)
                assert difference <= 1e-6 * np.linalg.norm(array), name


def by_layer(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All of a layer's gradients in one: those of its potentials alone are sums over all places, of either sign, whose
    rounding is that of what was added."""
    names = {name.split(".")[0] for name in given}
    return {
        layer: np.concatenate([np.float64(given[name]).ravel() for name in given if name.split(".")[0] == layer])
        for layer in names
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"adam": True, "limits": Limits(weight_decay=0.01, clip_norm=0.05, weight_clip=(-0.6, 0.6), fixed_sign=True)},
        {"decay": 0.9, "rule": "potentials"},
        {"accumulate": 3, "adam": True},
        {"rule": "standardised", "limits": Limits(clip_norm=0.05)},
        {"spoils": 7},
        {"spoils": 2, "accumulate": 3, "decay": 0.9},
    ],
)
def test_all_ranks_have_the_same_bits_from_run_to_run(options: dict[str, Any]) -> None:
    """20 batches; in the second run every call of the wire takes longer."""
    once, again = ranks(3, **options), ranks(3, delay=1e-3, **options)
    assert all(rank.bits() == once[0].bits() for rank in (*once, *again))
    counts = once[0].optimizer.counts
    assert counts.skipped == ("spoils" in options)
    assert counts.applied + counts.skipped == (10 if "accumulate" in options else 20)
    assert (counts.clipped > 0) == ("limits" in options)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("size", [2, 4])
def test_decisions_are_those_of_one_rank(size: int, accumulate: int) -> None:
    options: dict[str, Any] = {"limits": Limits(clip_norm=0.05), "accumulate": accumulate, "decay": 0.9}
    alone, of_ranks = Rank(None, **options).train(3), ranks(size, epochs=3, **options)[0]
    assert alone.optimizer.counts == of_ranks.optimizer.counts != StepCounts(0, 0, 0)
    for name, array in alone.net.state_dict().items():
        difference = np.linalg.norm(of_ranks.net.state_dict()[name] - array)
        assert difference <= 1e-5 * np.linalg.norm(array), name


class Noted(HostAllReduce):
    """An exchange between nobody, that notes what it is told."""

    def __init__(self, gradients: Any):
        super().__init__(ThreadsWire(Meeting(1), 0), gradients, [])
        self.told: list[int | str] = []

    def ready(self, first: int) -> None:
        self.told.append(first)

    def finish(self) -> None:
        self.told.append("finish")

    def drop(self) -> None:
        self.told.append("drop")


def noted(accumulate: int = 1) -> tuple[Rank, Noted]:
    rank = Rank(None)
    exchange = Noted(rank.net.parameters.gradients)
    rank.step = TrainingStep(rank.net, rank.optimizer, BATCH, accumulate=accumulate, all_reduce=exchange)
    return rank, exchange


def test_layers_are_handed_over_from_the_last_one_down() -> None:
    rank, exchange = noted()
    rank.train(1)
    starts = list(rank.net.parameters.starts.values())
    assert starts == sorted(starts) and starts[0] == 0 and len(starts) == 5
    assert exchange.told == [*reversed(starts), "finish"] * 4


def test_of_several_batches_the_sum_is_exchanged_once() -> None:
    rank, exchange = noted(accumulate=3)
    rank.train(1)
    # three batches, and by flush() the fourth
    assert exchange.told == ["finish", "finish"]


def test_a_step_that_fails_gives_its_exchange_up() -> None:
    rank, exchange = noted()
    height, width, channels = rank.net.layers[0].in_shape
    rank.step.send(np.zeros((2, height, width, channels), np.float32), np.array([0, CLASSES], np.int32))
    with pytest.raises(ValueError, match="labels must"):
        rank.step.run()
    assert exchange.told == ["drop"]


def test_an_exchange_of_other_gradients_is_refused() -> None:
    rank = Rank(None)
    with pytest.raises(ValueError, match="all_reduce must be of this network's"):
        TrainingStep(rank.net, rank.optimizer, BATCH, all_reduce=Noted(np.zeros(3, np.float32)))
