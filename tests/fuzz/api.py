"""Random calls of the public API: wrong shapes, types, strides, orders of calls. A result, or an error by name."""

import copy
import os
import pickle
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from helpers import children
from helpers.any_threads import AnyThreads

from fuzz import values
from ttfs_cupy import (
    Adam,
    Batches,
    Encoder,
    Evaluator,
    ImageSet,
    LearningRateSchedule,
    Limits,
    MixedLabels,
    Network,
    Sgd,
    TrainingStep,
    augmentation,
    build,
    get_device,
    load_dataset,
    mixing,
)
from ttfs_cupy.device import CpuDevice

CALLS = 20

AUGMENTS: list[Any] = [
    *(None, "cifar", [{"RandomCrop": {"padding": 2}}, "TrivialAugment"], lambda images, draw: draw.permutation(images)),
    *map(augmentation, ("none", "crop_flip", "shift_erase")),
]

# input shape, model: what one attempt builds
NETWORKS: list[tuple[tuple[int, int, int], list[Any]]] = [
    ((1, 4, 4), [3]),
    ((3, 6, 6), [4, "P", {"linear": 5}]),
    ((2, 7, 9), [16, 16, "P"]),
    ((1, 8, 8), [{"convolution": 4, "kernel": 2, "stride": 2}, {"pool": [2, 3], "stride": 2}]),
    ((2, 5, 5), [{"linear": 7}]),
    ((3, 12, 12), [40, 40, "P", 40]),
]
RULES: dict[str, list[Any]] = {
    "seed": [0, 1],
    "t_win": [1.0, 0.5, 3.0],
    "psp_slope": [0.0, 0.5, 1.0],
    "clip": ["gain", "none"],
    "grad_clip": [1.0, 0.1],
    "readout": ["potential", "spike_times"],
    "silent": ["latest", "excluded"],
    "initial_potential": [False, True],
    "encoding": [None, "latency", "direct"],
    "standardize": [False, True],
    "convolution": ["auto", "gemm", "winograd", "direct", "gemm/direct/gemm", {"conv1": "gemm"}],
    "precision": ["float32", "split", "tf32"],
    "weight_mean": [0.0, -1.0],
    "weight_std": [None, 0.5, {"readout": 0.1}],
}


class Api:
    """An attempt is CALLS calls on one small world: a network, its optimiser, steps and images."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.device = AnyThreads(2)
        self.calls = 0

    def attempt(self, chance: random.Random) -> str:
        world = _World(chance, self.device, self.folder)
        refused = 0
        for _ in range(CALLS):
            name = chance.choice(_CALLS)
            self.calls += 1
            refused += values.refused(lambda name=name: getattr(world, name)(), f"{name} of {world}")
        world.check()
        return "refused" if refused else "accepted"


class _World:
    def __init__(self, chance: random.Random, device: CpuDevice, folder: Path):
        self.chance = chance
        self.folder = folder
        self.shape, self.model = chance.choice(NETWORKS)
        self.classes = chance.choice([2, 3, 10])
        self.rule = {name: chance.choice(RULES[name]) for name in chance.sample(sorted(RULES), 3)}
        self.calls: list[str] = []
        try:
            self.net: Network = build(self.model, self.shape, self.classes, device, **self.rule)
        except ValueError:  # these three do not go together
            self.rule = {}
            self.net = build(self.model, self.shape, self.classes, device)
        self.optimizer: Any = Adam(device, self.net.parameters)
        self.step = TrainingStep(self.net, self.optimizer, 4)
        self.evaluator = Evaluator(self.net, 4)
        draw = np.random.default_rng(chance.getrandbits(32))
        height, width = self.shape[1:]
        pixels = draw.integers(0, 256, (9, height, width, self.shape[0]), np.uint8)
        self.images = ImageSet(pixels, draw.integers(0, self.classes, 9).astype(np.int32))
        self.batches = Batches(self.images, 4, encode=self.net.encoder)

    def __repr__(self) -> str:
        return f"build({self.model}, {self.shape}, {self.classes}, **{self.rule}), after {self.calls}"

    # What is right, with a chance of being spoilt

    def maybe(self, right: Any) -> Any:
        """Mostly right, else something else."""
        return right if self.chance.random() < 0.8 else values.nasty(self.chance)

    def array(self, right: np.ndarray) -> Any:
        return right if self.chance.random() < 0.5 else values.spoilt(self.chance, right)

    def pixels(self) -> Any:
        count = self.chance.choice([1, 2, 4, 5])
        return self.array(np.random.default_rng(self.chance.getrandbits(32)).random((count, *self.shape), np.float32))

    def batch(self) -> tuple[Any, Any]:
        count = self.chance.choice([1, 2, 4])
        draw = np.random.default_rng(self.chance.getrandbits(32))
        inputs = self.net.encode(draw.random((count, *self.shape), np.float32))
        labels = draw.integers(0, self.classes, count).astype(np.int32)
        if self.chance.random() < 0.7:
            return self.array(inputs), self.array(labels)
        others, shares = np.roll(labels, 1), draw.random(count, np.float32)
        return self.array(inputs), MixedLabels(*map(self.array, (labels, others, shares)))

    # The calls, each of which may be refused

    def encode(self) -> None:
        self.net.encode(self.pixels())

    def forward(self) -> None:
        readout = self.net.forward(self.batch()[0])
        assert readout.ndim == 2 and readout.shape[1] == self.classes

    def run(self) -> None:
        self.net.run(self.batch()[0], training=bool(self.chance.getrandbits(1)))

    def loss_and_gradients(self) -> None:
        loss, gradients = self.net.loss_and_gradients(*self.batch())
        assert isinstance(loss, float) and gradients.keys() == self.net.state_dict().keys()

    def train_step(self) -> None:
        self.net.train_step(*self.batch(), self.maybe(self.optimizer))

    def differentiate(self) -> None:
        self.net.differentiate(*self.batch())

    def read_loss(self) -> None:
        self.net.plan(1, training=True)
        assert 0 <= self.net.loss.read().accuracy <= 1

    def send(self) -> None:
        step: Any = self.chance.choice([self.step, self.evaluator])
        step.send(*self.batch())

    def run_step(self) -> None:
        step: Any = self.chance.choice([self.step, self.evaluator])
        step.run()

    def evaluate(self) -> None:
        self.evaluator.over(self.batches, "fuzz")

    def epoch(self) -> None:
        for batch in self.batches.epoch(self.maybe(0)):
            mixed = isinstance(batch.labels, MixedLabels)
            assert batch.inputs.dtype == np.float32 and (mixed or batch.labels.dtype == np.int32)
            if self.chance.random() < 0.3:
                break

    def plan(self) -> None:
        self.net.plan(self.maybe(self.chance.choice([1, 3, 8])), training=bool(self.chance.getrandbits(1)))

    def spike_times(self) -> None:
        self.net.spike_times()

    def summary(self) -> None:
        assert "total" in self.net.summary()

    def set_psp_slope(self) -> None:
        self.net.psp_slope = self.maybe(self.chance.random())

    def set_lr(self) -> None:
        self.optimizer.lr = self.maybe(self.chance.random())

    def load_weights(self) -> None:
        self.net.load_state_dict(self.maybe(self._spoilt(self.net.state_dict())))

    def load_optimizer(self) -> None:
        self.optimizer.load_state_dict(self.maybe(self._spoilt(self.optimizer.state_dict())))

    def _spoilt(self, state: Mapping[str, np.ndarray]) -> dict[Any, Any]:
        """In three of four cases an array is another, or lacks, or is there twice."""
        changed: dict[Any, Any] = dict(state)
        name = self.chance.choice(list(changed))
        match self.chance.randrange(4):
            case 0:
                changed[name] = values.spoilt(self.chance, changed[name])
            case 1:
                del changed[name]
            case 2:
                changed[values.text(self.chance)] = changed[name]
        return changed

    def add_to_loss(self) -> None:
        """Potentials and labels of nobody's network."""
        planned = self.net.planned.batch_size if self.net.planned else 1
        count = self.chance.choice([1, planned, planned + 1, 4])
        draw = np.random.default_rng(self.chance.getrandbits(32))
        potentials = draw.standard_normal((count, self.classes), np.float32)
        grad = self.net.loss.add(
            self.array(potentials), self.array(draw.integers(0, self.classes, count).astype(np.int32))
        )
        assert grad.shape == (count, self.classes) and grad.dtype == np.float32

    def threads(self) -> None:
        """Three at once, of calls that change no weight: what each returns alone."""
        calls = [self._reading() for _ in range(3)]
        alone = [values.outcome(call) for call in calls]
        with ThreadPoolExecutor(len(calls)) as pool:
            assert list(pool.map(values.outcome, calls)) == alone, f"threads of {self}"

    def fork(self) -> None:
        """A child's calls are its parent's."""
        if "libasan" in os.environ.get("LD_PRELOAD", ""):
            # GCC 12's library does not keep its own locks free for a fork: a child of several threads may hang in it
            return
        call = self._reading()
        alone = values.outcome(call)
        assert children.answer_of(lambda: values.outcome(call)) == alone, f"a child of {self}"

    def _reading(self) -> Callable[[], Any]:
        inputs, labels = self.batch()
        return self.chance.choice(
            [
                lambda: self.net.forward(inputs),
                lambda: self.net.loss_and_gradients(inputs, labels),
                lambda: self.net.encode(inputs),
                self.net.state_dict,
                lambda: copy.deepcopy(self.net).forward(inputs),
            ]
        )

    def copies(self) -> None:
        how: Callable[[Any], Any] = self.chance.choice(
            [copy.copy, copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
        )
        if how is copy.copy:
            self.net = copy.copy(self.net)
            self.optimizer = Adam(self.net.device, self.net.parameters)
        else:
            self.net, self.optimizer = how((self.net, self.optimizer))
        self.step = TrainingStep(self.net, self.optimizer, 4)
        self.evaluator = Evaluator(self.net, 4)

    def new_step(self) -> None:
        size = self.maybe(self.chance.choice([1, 4]))
        self.step = TrainingStep(self.net, self.maybe(self.optimizer), size)
        self.evaluator = Evaluator(self.net, self.maybe(4))

    def new_network(self) -> None:
        rule = {name: self.maybe(self.chance.choice(RULES[name])) for name in self.chance.sample(sorted(RULES), 2)}
        for name in ("mean", "std"):
            if self.chance.random() < 0.3:
                rule[name] = self.array(np.full(self.shape[0], 0.5, np.float32))
        shape, model = self.chance.choice(NETWORKS)
        build(self.maybe(model), self.maybe(shape), self.maybe(self.classes), self.maybe(self.net.device), **rule)

    def new_optimizer(self) -> None:
        limits = {
            "weight_decay": self.maybe(0.1),
            "l2": self.maybe(0.1),
            "clip_norm": self.maybe(1.0),
            "weight_clip": self.maybe((-1.0, 1.0)),
            "fixed_sign": self.maybe(True),
        }
        chosen = Limits(**{name: limits[name] for name in self.chance.sample(sorted(limits), 2)})
        if self.chance.getrandbits(1):
            options = {"beta1": self.maybe(0.5), "beta2": self.maybe(0.9), "eps": self.maybe(1e-8)}
            optimizer: Any = Adam(self.net.device, self.net.parameters, self.maybe(1e-3), **options, limits=chosen)
        else:
            momentum = self.maybe(0.9)
            optimizer = Sgd(self.net.device, self.net.parameters, self.maybe(1e-2), momentum=momentum, limits=chosen)
        self.optimizer = optimizer
        self.step = TrainingStep(self.net, self.optimizer, 4)

    def new_images(self) -> None:
        images = ImageSet(self.array(self.images.images), self.array(self.images.labels), self.maybe(255))
        images.take(self.array(np.arange(3)))
        self.images = images

    def new_batches(self) -> None:
        options = {
            "encode": self.maybe(self.chance.choice([self.net.encoder, Encoder()])),
            "shuffle": self.chance.random() < 0.5,
            "seed": self.maybe(0),
            "augment": self.maybe(self.chance.choice(AUGMENTS)),
            "mix": self.maybe(self.chance.choice([None, mixing("mixup"), mixing("both", 0.3)])),
            "resident": self.maybe(0.5),
        }
        self.batches = Batches(self.maybe(self.images), self.maybe(4), **options)

    def new_encoder(self) -> None:
        channels = np.full(self.shape[0], 0.5, np.float32)
        encoder = Encoder(
            self.maybe("latency"), self.maybe(1.0), self.maybe(True), self.array(channels), self.array(channels)
        )
        encoder(np.zeros((2, 3, 3, self.shape[0]), np.float32))

    def schedule(self) -> None:
        schedule = LearningRateSchedule(
            self.maybe(0.1),
            self.maybe(3),
            self.maybe(5),
            self.maybe(self.chance.choice(["exponential", "multistep", "cosine"])),
            self.maybe(0.9),
            self.maybe((1, 3)),
            self.maybe(0.5),
            self.maybe(2),
        )
        schedule.at(self.maybe(4))

    def device(self) -> None:
        get_device(self.maybe("cpu"), self.maybe(self.chance.choice([None, 1, 3])))

    def dataset(self) -> None:
        load_dataset(self.maybe("mnist"), self.maybe(self.folder))

    def own_images(self) -> None:
        images = self.images.images
        ImageSet.from_arrays(self.array(images), self.array(self.images.labels))
        ImageSet.from_folder(self.maybe(self.folder), self.maybe([3, 3]), self.maybe(1))
        options = {"size": self.maybe((3, 3)), "channels": self.maybe(3), "test": self.maybe(0.5)}
        load_dataset(self.chance.choice(["folder", "arrays"]), self.maybe(self.folder), **options)

    def check(self) -> None:
        """The network still computes, and what it computes is of its own weights alone."""
        state = self.net.state_dict()
        inputs = self.net.encode(np.full((2, *self.shape), 0.5, np.float32))
        first, again = self.net.forward(inputs), self.net.forward(inputs)
        assert first.shape == (2, self.classes), self
        np.testing.assert_array_equal(first, again)
        assert all((values_ == state[name]).all() for name, values_ in self.net.state_dict().items()), self


_CALLS = sorted(
    name
    for name, member in vars(_World).items()
    if callable(member) and not name.startswith("_") and name not in ("maybe", "array", "pixels", "batch", "check")
)
