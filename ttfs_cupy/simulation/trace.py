"""One neuron's membrane potential, step by step, and its picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.plot import potential_trace
from ttfs_cupy.plot.canvas import BLUE, SHADE, SMALL, matplotlib, saved
from ttfs_cupy.simulation.simulator import Currents, Inputs, Simulated, Simulator, simulate_layer
from ttfs_cupy.simulation.time_grid import NO_SPIKE, TimeGrid

Floats = NDArray[np.float64]

DPI = 144


@dataclass(frozen=True)
class Trace:
    """A neuron over its input's window, [-T, 0], and its own, [0, T]. times, potential: (2 window + 2,), float64, two
    as its window opens: a charge moves its potential at once.

    arrivals: when its inputs spiked, in the same time. spike: its own, None for silence, or a neuron that does not
    fire. neuron: its number in its layer, in the order (channel, height, width).
    """

    layer: str
    neuron: int
    fires: bool
    t_win: float
    times: Floats
    potential: Floats
    arrivals: Floats
    spike: float | None

    @property
    def threshold(self) -> Floats:
        """In its own window: T - u."""
        return self.t_win - self.times[len(self.times) // 2 :]


def traced(simulator: Simulator, encoded: Array, wanted: str | None) -> Trace:
    """A neuron of one encoded image, (1, height, width, channels), simulated end to end.

    wanted: LAYER:NEURON; LAYER for a neuron of that layer that is chosen; None for one of the last layer before the
    readout. What is chosen spikes as near to the middle of its window as any. Raises UserError where there is no such
    neuron.
    """
    network = simulator.network
    name, number = _parsed(wanted, [layer for layer in network.layers if isinstance(layer, Weighted)])
    inputs: Inputs = simulator.encoded(encoded)
    with network.turns.take(), network.device.current():
        for layer in network.layers:
            done = simulate_layer(simulator, layer, inputs)
            if layer.name == name:
                return _of_neuron(simulator, done, number)
            if done.spikes is not None:
                inputs = done.spikes
    raise AssertionError(name)


def _parsed(wanted: str | None, layers: list[Weighted]) -> tuple[str, int | None]:
    if wanted is None:
        return layers[-2 if len(layers) > 1 else -1].name, None
    name, colon, number = wanted.partition(":")
    named = {layer.name: layer for layer in layers}
    if name not in named:
        raise UserError(f"--neuron {one_line(wanted, 60)} names no layer of neurons: there are {', '.join(named)}")
    if not colon:
        return name, None
    if not (number.isascii() and number.isdigit()):
        raise UserError(f"--neuron must be LAYER:NUMBER, such as {name}:0, not {shown(wanted)}")
    most = named[name].neurons - 1
    digits = number.lstrip("0") or "0"
    # Python makes no number of thousands of digits
    if len(digits) > len(str(most)) or int(digits) > most:
        raise UserError(f"the number of a neuron of {name} must be at most {most}, not {one_line(number, 60)}")
    return name, int(digits)


def _of_neuron(simulator: Simulator, done: Simulated, number: int | None) -> Trace:
    layer, grid, host = done.layer, simulator.grid, simulator.network.device.to_host
    assert isinstance(layer, Weighted) and done.course is not None
    steps = host(done.course.steps)[0]
    height, width, channels = steps.shape
    if number is None:
        in_order = steps.transpose(2, 0, 1).reshape(-1)
        from_middle = np.where(in_order == NO_SPIKE, grid.window, np.abs(in_order - grid.window / 2))
        number = int(from_middle.argmin())
    channel, pixel = divmod(number, height * width)
    arrivals = simulator.arrivals(layer, done.inputs)
    count = int(host(arrivals.counts)[pixel])
    places, arrived = (host(array)[pixel, :count] for array in (arrivals.places, arrivals.steps))
    weights = host(layer.weights).reshape(-1, channels)[places, channel].astype(np.float64)
    currents = np.ones(count, np.float64)
    if isinstance(done.inputs, Currents):
        assert arrivals.currents is not None
        currents = done.inputs.scale * host(arrivals.currents)[pixel, :count].astype(np.float64)
    initial = 0.0 if layer.potential is None else float(host(layer.potential)[channel])
    slope = float(layer.neuron.psp_slope.value)
    potential = integrated(arrived, currents, weights, grid, slope, initial)
    step = int(steps.reshape(-1, channels)[pixel, channel])
    spike = step * grid.dt if layer.is_spiking and step != NO_SPIKE else None
    before, after = np.arange(-grid.window, 1), np.arange(grid.window + 1)
    times = np.concatenate([before, after]).astype(np.float64) * grid.dt
    of_inputs = arrived[weights != 0].astype(np.float64) * grid.dt - grid.t_win
    return Trace(layer.name, number, layer.is_spiking, grid.t_win, times, potential, of_inputs, spike)


def integrated(
    arrived: NDArray[np.int32], currents: Floats, weights: Floats, grid: TimeGrid, psp_slope: float, initial: float
) -> Floats:
    """The potential of a neuron after each step, (2 window + 2,): what kernels/simulation.cu does, in float64. As the
    window opens there are two, before and after the charge.

    arrived: the steps of its inputs, rising; currents: what each weight is multiplied by until the window opens.
    """
    potential, slope, after = 0.0, 0.0, 0.0
    course, following = [0.0], 0
    for step in range(2 * grid.window):
        while following < len(arrived) and arrived[following] <= step:
            slope += currents[following] * weights[following]
            after += weights[following]
            following += 1
        if step == grid.window:
            # the window opens: charged, and without a spike the slope is what it stays at
            potential += grid.t_win * initial
            course.append(potential)
            slope = psp_slope * after
        potential += slope * grid.dt
        course.append(potential)
    return np.array(course)


def picture(trace: Trace, title: str, suffix: str) -> bytes:
    """A PNG or SVG file, by its suffix, of a trace: the potential, its threshold, and the spike where they meet."""
    figure = matplotlib("figure").Figure(figsize=(7, 3.6), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    half = len(trace.times) // 2
    axes.plot(trace.times[: half + 1], trace.potential[: half + 1], "-", color=BLUE, linewidth=1.8)
    if trace.fires:
        own = (trace.times[half:], trace.potential[half:], trace.threshold)
        potential_trace(*own, trace.spike, ax=axes)
    else:
        axes.plot(
            trace.times[half:], trace.potential[half:], "-", color=BLUE, linewidth=1.8, label="membrane potential"
        )
        axes.set_xlabel("time")
        axes.set_ylabel("potential")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=SMALL, frameon=False)
    axes.axvspan(-trace.t_win, 0, **SHADE)
    axes.plot(
        trace.arrivals,
        np.zeros(len(trace.arrivals)),
        "|",
        color="black",
        alpha=0.4,
        transform=axes.get_xaxis_transform(),
    )
    axes.set_xlim(-trace.t_win, trace.t_win)
    axes.set_xlabel("time since the neuron's window opened; its inputs spike before (shaded, marks)")
    axes.set_title(title, fontsize=10, loc="left")
    # the same bytes each time
    with matplotlib("style").context({"svg.hashsalt": "ttfs"}):
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        return saved(figure, format=suffix[1:], metadata=metadata)
