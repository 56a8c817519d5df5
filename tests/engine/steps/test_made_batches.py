"""Batches that are made in a step: each is worked on once, in their order, whatever the caller does in between."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.batches import pictures
from helpers.small_network import bits
from helpers.stepping import CLASSES, SHAPE, SPEC

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, ImageSet, mixing
from ttfs_cupy.device import CpuDevice, Device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Sgd
from ttfs_cupy.engine.steps.batch_step import MOST_SETS
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.neuron.encoding import Encoder

BATCH, IMAGES = 8, 20
needs_emulator = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
DEVICES: dict[str, Callable[[], Device]] = {"cpu": lambda: CpuDevice(1), "stand-in": lambda: device_of(Machine())}


@pytest.fixture(params=["cpu", pytest.param("stand-in", marks=needs_emulator)])
def network(request: pytest.FixtureRequest) -> Network:
    return models.build(SPEC, SHAPE, CLASSES, DEVICES[request.param]())


def batches_of(network: Network, size: int = BATCH, count: int = IMAGES, **options: Any) -> Batches:
    found = pictures(count, (*SHAPE[1:], SHAPE[0]))
    images = ImageSet(found.images, found.labels % CLASSES)
    return Batches(images, size, encode=network.encoder, **options)


def step_of(network: Network) -> TrainingStep:
    return TrainingStep(network, Sgd(network.device, network.parameters, 1e-3), BATCH)


@pytest.mark.parametrize("resident", [0.0, 1.0])
def test_a_batch_is_worked_on_once(network: Network, resident: float) -> None:
    step, batches = step_of(network), batches_of(network, resident=resident)
    for epoch in range(3):
        sizes = []
        for images in step.each(batches, epoch):
            sizes.append(images)
            step.run()
            weights = bits(network)
            # the device would go on to the next one, or beyond the last
            with pytest.raises(ValueError, match="there is no batch to work on"):
                step.run()
            assert bits(network) == weights
        assert sizes == [8, 8, 4]
    with pytest.raises(ValueError, match="there is no batch to work on"):
        step.run()


def test_an_evaluator_has_no_batch_after_it(network: Network) -> None:
    evaluator = Evaluator(network, BATCH)
    first = evaluator.over(batches_of(network), "")
    with pytest.raises(ValueError, match="there is no batch to work on"):
        evaluator.run()
    assert evaluator.over(batches_of(network), "") == first


def test_none_is_left_out(network: Network) -> None:
    step = step_of(network)
    made = step.each(batches_of(network), 0)
    next(made)
    with pytest.raises(ValueError, match="a batch was left out"):
        next(made)


def test_what_is_sent_in_between_takes_the_place_of_none(network: Network) -> None:
    step = step_of(network)
    made = step.each(batches_of(network), 0)
    next(made)
    step.send(np.zeros((2, *SHAPE[1:], SHAPE[0]), np.float32), np.zeros(2, np.int32))
    step.run()
    step.run()
    with pytest.raises(ValueError, match="a batch was left out"):
        next(made)


def test_an_epoch_ends_as_another_one_begins(network: Network) -> None:
    step, batches = step_of(network), batches_of(network)
    first, second = step.each(batches, 0), step.each(batches, 1)
    next(first)
    step.run()
    next(second)
    with pytest.raises(ValueError, match="another epoch of these batches has begun"):
        next(first)
    step.run()
    assert len(list(run(step, second))) == 2


def run(step: TrainingStep, made: Iterator[int]) -> Iterator[int]:
    for images in made:
        step.run()
        yield images


@pytest.mark.parametrize("resident", [0.0, 1.0])
def test_two_sets_may_be_gone_through_side_by_side(network: Network, resident: float) -> None:
    """As apart: of a step that changes no weights, so that it does not matter which is first."""
    options: dict[str, Any] = {"resident": resident, "shuffle": True, "augment": "crop_flip", "mix": mixing("both")}
    sets = [batches_of(network, seed=seed, **options) for seed in (1, 2)]

    def losses(order: list[tuple[int, int]]) -> dict[tuple[int, int], float]:
        step = Evaluator(network, BATCH)
        made = {(which, epoch): step.each(sets[which], epoch) for which, epoch in {*order}}
        found = {}
        for number, place in enumerate(order):
            network.loss.reset()
            next(made[place])
            step.run()
            found[(*place, order[:number].count(place))] = network.loss.read().loss
        return found  # type: ignore[return-value]

    apart = [(which, epoch) for epoch in range(3) for which in (0, 1) for _ in range(3)]
    in_turn = [(which, epoch) for epoch in range(3) for _ in range(3) for which in (0, 1)]
    found = losses(apart)
    assert len({*found.values()}) == 18
    assert losses(in_turn) == found


def test_an_epoch_that_was_broken_off_begins_anew(network: Network) -> None:
    batches, weights = batches_of(network, augment="crop_flip", shuffle=True), network.state_dict()
    results = []
    for broken in (False, True):
        network.load_state_dict(weights)
        step = step_of(network)
        if broken:
            # one batch worked on without changing anything, one left
            made = step.each(batches, 1)
            next(made)
            step.run()
            next(made)
            network.load_state_dict(weights)
        assert len(list(run(step, step.each(batches, 1)))) == 3
        results.append(bits(network))
    assert results[0] == results[1]


def test_more_sets_than_a_step_keeps(network: Network) -> None:
    evaluator = Evaluator(network, BATCH)
    sets = [batches_of(network, seed=seed, augment="crop_flip") for seed in range(MOST_SETS + 2)]
    first = [evaluator.over(one, "") for one in sets]
    assert len({one.totals.loss for one in first}) == len(sets)
    for _ in range(2):
        assert [evaluator.over(one, "") for one in sets] == first


def test_an_epoch_of_a_set_that_is_no_longer_kept(network: Network) -> None:
    evaluator, first = Evaluator(network, BATCH), batches_of(network)
    made, unbegun = evaluator.each(first, 0), evaluator.each(first, 1)
    next(made)
    evaluator.run()
    next(made)
    for seed in range(MOST_SETS):
        evaluator.each(batches_of(network, seed=seed), 0)
    # the batch at hand is none any more, either
    with pytest.raises(ValueError, match="there is no batch to work on"):
        evaluator.run()
    for one in (made, unbegun):
        with pytest.raises(ValueError, match="others were used since: begin this epoch anew"):
            next(one)
    assert sum(1 for _ in run(evaluator, evaluator.each(first, 0))) == 3


@needs_emulator
def test_a_set_used_again_and_again_is_kept() -> None:
    """So the training set's graphs are not recorded anew, whatever is evaluated beside it."""
    network = models.build(SPEC, SHAPE, CLASSES, device_of(Machine()))
    evaluator, kept = Evaluator(network, BATCH), batches_of(network)
    for seed in range(2 * MOST_SETS):
        evaluator.over(kept, "")
        evaluator.over(batches_of(network, seed=seed), "")
    before = evaluator.graphs
    evaluator.over(kept, "")
    assert evaluator.graphs == before >= 2


def test_what_does_not_suit_is_refused(network: Network) -> None:
    """At once, before a batch is asked for."""
    step = step_of(network)
    for epoch in (-1, 0.5):
        with pytest.raises(UserError, match="an epoch's number must be a whole number from 0"):
            step.each(batches_of(network), epoch)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="batches of 9 images are for a step of up to 8"):
        step.each(batches_of(network, 9), 0)
    with pytest.raises(TypeError, match="batches must be of type Batches, not list"):
        step.each([], 0)  # type: ignore[arg-type]
    other = pictures(20, (5, 5, 3))
    with pytest.raises(ValueError, match="inputs"):
        step.each(Batches(ImageSet(other.images, other.labels % 2), 5, encode=network.encoder), 0)
    with pytest.raises(ValueError, match="there is no batch to work on"):
        step.run()


@needs_emulator
def test_a_set_goes_to_a_gpu_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CuPy page-locks on the way it keeps."""
    images = pictures(20, (9, 7, 3))
    monkeypatch.setattr("ttfs_cupy.data.pixels.PIECE", 3 * images.images[0].nbytes)
    device, sizes = device_of(Machine()), []
    real = device.to_device
    monkeypatch.setattr(
        device, "to_device", lambda array: sizes.append(array.nbytes * (array.dtype == np.uint8)) or real(array)
    )
    batches = Batches(images, BATCH, encode=Encoder())
    on_gpu = [device.to_host(batch.inputs) for batch in batches.epoch(0, device)]
    assert max(sizes) <= 3 * images.images[0].nbytes
    on_cpu = [batch.inputs for batch in batches.epoch(0)]
    assert all((one == other).all() for one, other in zip(on_gpu, on_cpu, strict=True))


@needs_emulator
def test_memory_is_not_given_up_while_a_copy_writes_to_it() -> None:
    """As where a loop is left between a batch's copy and its step."""
    machine = Machine()
    network = models.build(SPEC, SHAPE, CLASSES, device_of(machine))
    evaluator = Evaluator(network, BATCH)
    next(evaluator.each(batches_of(network, resident=0.0), 0))
    assert machine.stream("copies").queue
    del evaluator
    gc.collect()
    assert not machine.stream("copies").queue
