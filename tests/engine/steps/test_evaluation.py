"""Evaluations as CUDA graphs, on a GPU made of NumPy (cuda_stand_in): what launches give, and nobody waits."""

from typing import Any

import numpy as np
import pytest
from cuda_stand_in import FORBIDDEN_IN_A_STEP, Machine, device_of
from emulator import why_not
from helpers.stepping import CLASSES, SHAPE, SPEC

from ttfs_cupy import models
from ttfs_cupy.convolution.algorithm import PASSES
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tuner import Tuner, TuningCache
from ttfs_cupy.data import Batches
from ttfs_cupy.data.sources.images import ImageSet
from ttfs_cupy.device import CpuDevice, Device
from ttfs_cupy.device.streams import CALLS, MILLISECONDS
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.evaluation import Evaluation, Evaluator

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

BATCH, IMAGES = 8, 35


def network_on(device: Device, **rule: Any) -> Network:
    return models.build(SPEC, SHAPE, CLASSES, device, **rule)


def some_batches(network: Network, resident: float = 1.0) -> Batches:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (IMAGES, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
    images = ImageSet(pixels, draw.integers(0, CLASSES, IMAGES).astype(np.int32), 255)
    return Batches(images, BATCH, encode=network.encoder, resident=resident)


def evaluated(
    device: Device, times: int = 1, *, capture: bool = True, **rule: Any
) -> tuple[list[Evaluation], Evaluator]:
    network = network_on(device, **rule)
    evaluator, batches = Evaluator(network, BATCH, capture=capture), some_batches(network)
    return [evaluator.over(batches, "test") for _ in range(times)], evaluator


@pytest.mark.parametrize("rule", [{}, {"psp_slope": 0.0}, {"readout": "spike_times"}, {"encoding": "direct"}])
def test_replays_give_what_launches_and_a_cpu_give(rule: dict[str, Any]) -> None:
    machine = Machine()
    (first, again), evaluator = evaluated(device_of(machine), 2, **rule)
    assert machine.violations == []
    # whole batches, and the last one of three
    assert evaluator.graphs == 2
    (launched,), without = evaluated(device_of(Machine()), capture=False, **rule)
    assert without.graphs == 0
    assert first == again == launched
    assert first.totals.images == IMAGES and all(0 < rate < 1 for rate in first.firing_rates.values())
    (on_cpu,), _ = evaluated(CpuDevice(1), **rule)
    assert on_cpu.totals.loss == pytest.approx(first.totals.loss, rel=1e-5)
    assert on_cpu.firing_rates == pytest.approx(first.firing_rates, abs=1e-3)


def replayed_kinds(resident: float = 1.0) -> list[str]:
    """What the host asks for in an evaluation whose batches are all recorded."""
    machine = Machine()
    network = network_on(device_of(machine))
    evaluator, batches = Evaluator(network, BATCH), some_batches(network, resident)
    for _ in range(3):
        before = len(machine.log)
        evaluator.over(batches, "test")
    assert machine.violations == []
    return machine.kinds(before)


@pytest.mark.parametrize("resident", [0.0, 1.0])
def test_an_evaluation_is_one_graph_a_batch_and_reads_nothing_before_its_end(resident: float) -> None:
    """Firing rates and the classes' counts are parts of the graph."""
    kinds = replayed_kinds(resident)
    first, last = kinds.index("graph"), len(kinds) - kinds[::-1].index("graph")
    during = kinds[first:last]
    assert during.count("graph") == -(-IMAGES // BATCH)
    assert "launch" not in during and not set(during) & set(FORBIDDEN_IN_A_STEP)


def test_a_batch_arrives_while_the_one_before_it_is_evaluated() -> None:
    happened = [kind for kind in replayed_kinds(resident=0) if kind in ("copy in", "graph")]
    assert happened == ["copy in", "graph"] * -(-IMAGES // BATCH)


def test_of_a_set_that_lies_on_the_gpu_no_batch_is_copied() -> None:
    assert not {"copy in", "copy within"} & set(replayed_kinds())


def test_replays_see_new_weights_a_new_slope_and_a_new_plan() -> None:
    machine = Machine()
    network = network_on(device_of(machine))
    evaluator = Evaluator(network, BATCH)
    evaluations = [evaluator.over(some_batches(network), "test") for _ in range(2)]
    other = network_on(CpuDevice(1), seed=1).state_dict()

    def changed(change: str) -> None:
        if change == "weights":
            network.load_state_dict(other)
        elif change == "slope":
            network.psp_slope = 0.5
        else:
            network.plan(20, training=True)

    known = {evaluations[0].totals.loss}
    for change in ("weights", "slope", "plan"):
        changed(change)
        found = evaluator.over(some_batches(network), "test")
        reference = Evaluator(network_like(network), BATCH, capture=False)
        wanted = reference.over(some_batches(network), "test")
        assert found == wanted, change
        assert (found.totals.loss in known) == (change == "plan")
        known.add(found.totals.loss)
    assert machine.violations == []


def network_like(network: Network) -> Network:
    """The same on another machine."""
    other = network_on(device_of(Machine()))
    other.load_state_dict(network.state_dict())
    other.psp_slope = network.psp_slope
    return other


def test_spike_times_after_an_evaluation_are_those_of_its_last_batch() -> None:
    results = []
    for capture in (True, False):
        network = network_on(device_of(Machine()))
        evaluator = Evaluator(network, BATCH, capture=capture)
        for _ in range(3):
            evaluator.over(some_batches(network), "test")
        results.append(network.spike_times())
    for name, times in results[0].items():
        assert len(times) == IMAGES % BATCH
        np.testing.assert_array_equal(times, results[1][name])


# The tuner, which times by events on a GPU

WIDE = ConvolutionShape((6, 6), 16, 16, (3, 3), padding=(1, 1))
KERNELS = {"winograd": "winograd_input", "gemm": "gather_patches"}


@pytest.mark.parametrize("fast", KERNELS)
def test_the_tuner_takes_what_is_fastest_by_events(fast: str, tmp_path: Any) -> None:
    machine = Machine()
    # all kernels of the other one take long
    (slow,) = {*KERNELS} - {fast}
    machine.taking = {KERNELS[slow]: 1.0, "cublasSgemm_v2": 0.01}
    passes = Tuner(device_of(machine), TuningCache(tmp_path / "tuning.json")).choose(WIDE, 2, is_first=False)
    assert passes.forward.name == fast
    assert {which: passes.of(which).name for which in PASSES}
    # many calls in a graph, and events around them; nobody's clock but the GPU's
    assert machine.kinds().count("graph") > 4 and machine.violations == []


@pytest.mark.parametrize("milliseconds", [0.001, 0.03, 5.0])
def test_a_time_is_measured_over_many_calls_and_a_millisecond(milliseconds: float) -> None:
    machine = Machine()
    device = device_of(machine)
    machine.taking = {"fill": milliseconds}
    array = device.xp.empty(1, np.float32)
    launched = len(machine.log)
    seconds = device.seconds(lambda: device.launch("fill", 1, array, 1.0, 1))
    assert seconds == pytest.approx(milliseconds / 1e3, rel=1e-6)
    replays = machine.kinds(launched).count("replay")
    assert replays >= CALLS and replays * milliseconds >= MILLISECONDS


def test_what_cannot_be_recorded_is_timed_all_the_same() -> None:
    machine = Machine(refuses_capture=True)
    device = device_of(machine)
    machine.taking = {"fill": 0.5}
    array = device.xp.empty(1, np.float32)
    assert device.seconds(lambda: device.launch("fill", 1, array, 1.0, 1)) == pytest.approx(0.5e-3)
