"""Layers in discrete time beside plain loops over neurons, steps and spikes; and what has to hold of any neuron."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import time_stepped
from reference.comparison import DEVICE
from reference.specification import LayerSpec, read

from ttfs_cupy import models
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.simulation import simulator as simulation
from ttfs_cupy.simulation.passes import MOST_NEURONS, images_at_once
from ttfs_cupy.simulation.simulator import Currents, Simulated, Simulator, Spikes, simulate_layer
from ttfs_cupy.simulation.time_grid import NO_SPIKE, TimeGrid
from ttfs_cupy.simulation.trace import integrated, traced

SHAPE = (2, 6, 7)
CLASSES = 3
BATCH = 2

# Between them: every kind of layer, rectangular kernels, strides that leave a remainder, overlapping pooling.
SPECS: dict[str, list[Any]] = {
    "plain": [4, "P", 3],
    "rectangular": [{"convolution": 4, "kernel": [3, 2], "stride": [2, 1], "padding": [0, 2]}, {"pool": [2, 3]}],
    "overlapping": [{"pool": [3, 2], "stride": [1, 2]}, {"convolution": 17, "kernel": 1, "padding": 0}, {"linear": 5}],
}


def built(spec: list[Any], **rule: Any) -> Network:
    network = models.build(spec, SHAPE, CLASSES, DEVICE, seed=3, **rule)
    rng = np.random.default_rng(11)
    state = network.state_dict()
    potentials = {name: rng.normal(0, 0.2, array.shape) for name, array in state.items() if name.endswith("potential")}
    network.load_state_dict({**state, **{name: array.astype(np.float32) for name, array in potentials.items()}})
    return network


def images(count: int = BATCH) -> np.ndarray:
    """With black pixels, which are silent, and white ones, which spike at once."""
    drawn = np.random.default_rng(5).random((count, *SHAPE), np.float32)
    return np.where(drawn < 0.2, 0, np.where(drawn > 0.9, 1, drawn)).astype(np.float32)


def on_host(network: Network, array: Any) -> np.ndarray:
    return network.device.to_host(array)


def check_layer(network: Network, spec: LayerSpec, done: Simulated, grid: TimeGrid, slack: int) -> set[int]:
    """slack: by how many steps a spike may be off, where potentials are rounded. Returns what steps there were."""
    seen: set[int] = set()
    if spec.kind == "pool":
        assert isinstance(done.inputs, Spikes) and done.spikes is not None
        for steps, found in zip(*(on_host(network, side.steps) for side in (done.inputs, done.spikes)), strict=True):
            wanted = time_stepped.pooling(steps.transpose(2, 0, 1), spec, window=grid.window)
            assert (found.transpose(2, 0, 1) == wanted).all()
        return seen
    layer, course = done.layer, done.course
    assert isinstance(layer, Weighted) and course is not None
    state = network.state_dict()
    weight, initial = state[spec.weight_name], state.get(f"{spec.name}.potential")
    if isinstance(done.inputs, Currents):
        values = on_host(network, done.inputs.values).transpose(0, 3, 1, 2)
        given_steps, currents = np.where(values != 0, 0, NO_SPIKE), done.inputs.scale * values
    else:
        given_steps, currents = on_host(network, done.inputs.steps).transpose(0, 3, 1, 2), None
    if spec.kind in ("linear", "readout"):
        kernel = given_steps.shape[2:]
        spec = LayerSpec(spec.name, "convolution", spec.features, kernel)
        weight = weight.reshape(spec.features, -1, *kernel)
    slope = float(layer.neuron.psp_slope.value)
    for image in range(len(given_steps)):
        wanted = time_stepped.convolution(
            given_steps[image],
            weight,
            spec,
            window=grid.window,
            t_win=grid.t_win,
            psp_slope=slope,
            initial=initial,
            currents=None if currents is None else currents[image],
        )
        found, opening, closing = (
            on_host(network, array)[image].transpose(2, 0, 1).reshape(-1)
            for array in (course.steps, course.opening, course.closing)
        )
        tolerance = {"rtol": 1e-5, "atol": 1e-5 * grid.t_win} if slack else {"rtol": 1e-10, "atol": 1e-10}
        np.testing.assert_allclose(opening, [one.opening for one in wanted], **tolerance)
        np.testing.assert_allclose(closing, [one.closing for one in wanted], **tolerance)
        steps = np.array([NO_SPIKE if one.step is None else one.step for one in wanted])
        assert np.abs(found - steps).max() <= slack
        seen |= {*steps.tolist()} if layer.is_spiking else set()
    return seen


RULES: list[tuple[dict[str, Any], int]] = [
    ({"psp_slope": 1.0}, 40),
    ({"psp_slope": 0.0}, 23),
    ({"psp_slope": 0.4, "t_win": 2.0, "initial_potential": True}, 31),
    ({"psp_slope": 1.0, "readout": "spike_times"}, 40),
]
# input codes without spikes, which nothing pools
CODES: list[tuple[dict[str, Any], int]] = [
    ({"psp_slope": 0.6, "t_win": 0.5, "initial_potential": True, "encoding": "direct"}, 25),
    ({"psp_slope": 1.0, "t_win": 2.0, "standardize": True}, 25),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "rule", "window"),
    [(name, *rule) for name in SPECS for rule in (RULES if name == "overlapping" else [*RULES, *CODES])],
    ids=str,
)
def test_layers_are_what_plain_loops_make_of_them(name: str, rule: dict[str, Any], window: int, dtype: str) -> None:
    if "encoding" in rule or "standardize" in rule:
        rule = {**rule, "mean": np.array([0.4, 0.6]), "std": np.array([0.5, 0.3])}
    network = built(SPECS[name], **rule)
    grid = TimeGrid(network.t_win, window)
    simulator = Simulator(network, grid, dtype)
    inputs = simulator.encoded(network.encode(images()))
    seen: set[int] = set()
    for spec, layer in zip(read(SPECS[name], CLASSES), network.layers, strict=True):
        done = simulate_layer(simulator, layer, inputs)
        seen |= check_layer(network, spec, done, grid, slack=int(dtype == "float32"))
        if done.spikes is not None:
            inputs = done.spikes
    # silence, spikes at once, and many between
    assert {NO_SPIKE, 0} <= seen and len(seen) > 10


def test_images_are_simulated_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many at once, and however few lists fit into memory."""
    network = built(SPECS["plain"])
    simulator = Simulator(network, TimeGrid(1.0, 30))
    layer, encoded = network.layers[0], network.encode(images(5))
    assert isinstance(layer, Weighted)
    together = simulator.course(layer, simulator.encoded(encoded))
    alone = [simulator.course(layer, simulator.encoded(encoded[place : place + 1])) for place in range(5)]
    monkeypatch.setattr(simulation, "MOST_LISTED", 2 * layer.shape.out_pixels * layer.shape.patch_size)
    monkeypatch.setitem(simulation.MOST_STEPPED, network.device.target, 7 * 2 * 30)
    in_parts = simulator.course(layer, simulator.encoded(encoded))
    for field in ("steps", "opening", "closing", "weight_sum", "weight_size"):
        bits = on_host(network, getattr(together, field)).tobytes()
        assert bits == on_host(network, getattr(in_parts, field)).tobytes()
        assert bits == b"".join(on_host(network, getattr(one, field)).tobytes() for one in alone)


@pytest.mark.parametrize("window", [1, 1000, 1_000_000])
def test_no_launch_takes_long(monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    """Ctrl-C is answered between launches, however many steps there are. No kernel runs here."""
    network, launches, told = built(SPECS["plain"]), [], []
    simulator = Simulator(network, TimeGrid(1.0, window), done=told.append)
    layer, images = network.layers[0], 1000
    assert isinstance(layer, Weighted)
    device = network.device

    def launch(kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        launches.append((kernel, work))

    monkeypatch.setattr(device, "launch", launch)
    spikes = Spikes(device.xp.zeros((images, *layer.in_shape), np.int32))
    arrived = Simulator.arrivals
    listed = []

    def arrivals(self: Simulator, layer: Weighted, inputs: Any) -> Any:
        listed.append(len(inputs.steps))
        return arrived(self, layer, inputs)

    monkeypatch.setattr(Simulator, "arrivals", arrivals)
    # arrays hold what the memory held
    with np.errstate(all="ignore"):
        simulator.course(layer, spikes)
    neurons = [work for kernel, work in launches if kernel == "simulate_neurons"]
    assert sum(neurons) == images * layer.neurons and sum(told) == 2 * window * sum(neurons)
    channels = layer.shape.out_channels
    most = simulation.MOST_STEPPED[device.target]
    assert all(2 * window * (work // channels) <= most for work in neurons)
    # what lists take, of how many spikes there are up to each step, too
    of_one = layer.shape.out_pixels * layer.shape.patch_size + window
    assert sum(listed) == images and all(count == 1 or count * of_one <= simulation.MOST_LISTED for count in listed)
    assert len(listed) > 1 or window < 1_000_000


def test_a_batch_is_as_large_as_memory_allows() -> None:
    network = built(SPECS["plain"])
    largest = max(layer.neurons for layer in network.layers)
    for window in (1, 1000, 1_000_000):
        at_once = images_at_once(network, 1 << 20, window)
        assert at_once * (largest + window + 1) <= MOST_NEURONS < (at_once + 1) * (largest + window + 1)
    assert images_at_once(network, 7, 1000) == 7


# Properties of a neuron with few inputs, whatever they are

WINDOW = 12
NEURONS = st.lists(
    st.tuples(st.integers(-1, WINDOW), st.floats(-2, 2, width=32)),
    min_size=4,
    max_size=4,
)
SLOPES = st.sampled_from([0.0, 0.3, 1.0])


@cache
def with_one_layer() -> Network:
    return models.build([{"linear": 2}], (4, 1, 1), 2, DEVICE)


def one_neuron(inputs: list[tuple[int, float]], psp_slope: float, refined: int = 1) -> tuple[int, np.ndarray, TimeGrid]:
    """A hidden neuron that the kernel simulates, at a grid `refined` times as fine; and its trace."""
    network = with_one_layer()
    network.psp_slope = psp_slope
    weights = np.array([weight for _, weight in inputs], np.float32)
    state = network.state_dict()
    network.load_state_dict({**state, "linear1.weight": np.stack([weights, -weights])})
    grid = TimeGrid(1.0, WINDOW * refined)
    steps = np.array([step if step == NO_SPIKE else step * refined for step, _ in inputs], np.int32)
    layer = network.layers[0]
    assert isinstance(layer, Weighted)
    given_spikes = Spikes(network.device.to_device(steps.reshape(1, *layer.in_shape)))
    course = Simulator(network, grid, "float64").course(layer, given_spikes)
    order = [place for place in np.argsort(steps, kind="stable") if steps[place] != NO_SPIKE]
    arrived, doubles = steps[order], weights[order].astype(np.float64)
    trace = integrated(arrived, np.ones(len(order)), doubles, grid, psp_slope, 0.0)
    return int(on_host(network, course.steps).reshape(-1)[0]), trace, grid


@settings(deadline=None)
@given(NEURONS, SLOPES)
def test_a_neuron_spikes_at_the_first_step_that_meets_its_threshold(inputs: Any, psp_slope: float) -> None:
    step, trace, grid = one_neuron(inputs, psp_slope)
    own, threshold = trace[grid.window + 1 :], grid.t_win - np.arange(grid.window + 1) * grid.dt
    met = own - threshold
    if step == NO_SPIKE:
        assert (met[:-1] < 1e-12).all() and met[-1] <= 1e-12
    else:
        assert met[step] >= -1e-12 and (met[:step] < 1e-12).all()


@settings(deadline=None)
@given(NEURONS, SLOPES, st.sampled_from([2, 5]))
def test_finer_steps_see_a_spike_earlier_by_less_than_a_step(inputs: Any, psp_slope: float, refined: int) -> None:
    """Inputs on the coarse grid are on the fine one, too, so all that differs is when the spike is noticed."""
    (coarse, trace, grid), (fine, _, fine_grid) = (one_neuron(inputs, psp_slope, by) for by in (1, refined))
    brink = max(trace[grid.window + 1] - grid.t_win, trace[-1])
    if abs(brink) < 1e-9:
        return
    assert (coarse == NO_SPIKE) == (fine == NO_SPIKE)
    if coarse != NO_SPIKE:
        earlier = coarse * grid.dt - fine * fine_grid.dt
        assert -1e-9 < earlier < grid.dt + 1e-9


def test_a_charge_lifts_the_potential_at_once() -> None:
    """As the window opens, and not on the way from the step before."""
    grid = TimeGrid(2.0, 4)
    weights = np.array([0.5, -1.0])
    course = integrated(np.array([0, 2]), np.ones(2), weights, grid, 1.0, 0.3)
    np.testing.assert_allclose(course, [0, 0.25, 0.5, 0.25, 0, 0.6, 0.35, 0.1, -0.15, -0.4])
    network = built(SPECS["plain"], psp_slope=1.0, initial_potential=True)
    trace = traced(Simulator(network, TimeGrid(1.0, 4)), network.encode(images(1)), "conv1:3")
    assert trace.times.tolist() == [-1, -0.75, -0.5, -0.25, 0, 0, 0.25, 0.5, 0.75, 1] and len(trace.potential) == 10
    assert trace.threshold.tolist() == [1, 0.75, 0.5, 0.25, 0]
    layer = network.layers[0]
    assert isinstance(layer, Weighted) and layer.potential is not None
    channel, _ = divmod(3, layer.out_shape[0] * layer.out_shape[1])
    charge = float(on_host(network, layer.potential)[channel])
    assert abs(charge) > 1e-3 and trace.potential[5] - trace.potential[4] == pytest.approx(charge)


@settings(deadline=None)
@given(NEURONS, SLOPES)
def test_the_closed_form_lies_within_the_step_before(inputs: Any, psp_slope: float) -> None:
    step, _, grid = one_neuron(inputs, psp_slope)
    spiked = [(grid.t_win - step * grid.dt, weight) for step, weight in inputs if step != NO_SPIKE]
    drive, weight_sum = sum(x * w for x, w in spiked), sum(w for _, w in spiked)
    growth, at_end = 1 + psp_slope * weight_sum, drive + psp_slope * grid.t_win * weight_sum
    if min(abs(at_end), abs(drive - grid.t_win), abs(growth)) < 1e-6:
        return
    if drive >= grid.t_win:
        assert step == 0
    elif growth > 0 and at_end > 0:
        time = grid.t_win - at_end / growth
        assert step != NO_SPIKE and -1e-9 < step * grid.dt - time < grid.dt + 1e-9
    else:
        assert step == NO_SPIKE
