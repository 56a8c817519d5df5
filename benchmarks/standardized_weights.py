"""What standardised weights cost: a training step with them beside the same step without, in turns.

    python -m ttfs_cupy.benchmarks.standardized_weights [--networks vgg7 vgg11] [--batch-size 32] [--rounds 7]

Whole steps differ by less than they vary, so the two launches that are added are timed by themselves, too.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.standardized_weights")

from collections.abc import Iterator, Sequence

import numpy as np

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.measure import STEPS_PER_TURN, clock_between, median, turns
from ttfs_cupy.benchmarks.ours import WARM_UPS_OF_GRAPHS
from ttfs_cupy.benchmarks.workload import CLASSES, LEARNING_RATE, WORKLOADS, Workload
from ttfs_cupy.common.command import command_line
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.models import build


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    name = "python -m ttfs_cupy.benchmarks.standardized_weights"
    parser = command_line.Parser(prog=name, description=__doc__.split("\n")[0])
    options.add_networks_and_batch_sizes(parser, [32])
    options.add_device_and_rounds(parser, rounds=7)
    parsed = parser.parse_args(arguments)

    def work() -> None:
        device, _ = get_device(parsed.device)
        for line in lines(device, parsed.networks, parsed.batch_size, parsed.rounds):
            command_line.say(line)

    return command_line.run(work, process_ends=arguments is None)


def lines(device: Device, networks: Sequence[str], batch_sizes: Sequence[int], rounds: int) -> Iterator[str]:
    """A table, row by row, as it is measured: milliseconds, medians of the rounds."""
    yield f"{'':20}{'plain':>10}{'standardised':>14}{'ratio':>8}{'two launches':>14}{'of a step':>11}"
    for name in networks:
        for batch_size in batch_sizes:
            plain, standardized, launches = _seconds(device, WORKLOADS[name], batch_size, rounds)
            yield (
                f"{f'{name}, batch {batch_size}':20}{plain * 1e3:10.1f}{standardized * 1e3:14.1f}"
                f"{standardized / plain:8.3f}{launches * 1e3:14.2f}{launches / plain:11.2%}"
            )


def _seconds(device: Device, workload: Workload, batch_size: int, rounds: int) -> tuple[float, float, float]:
    """Of a step without and with them, and of what is launched for them."""
    shape, layers = workload.input_shape, list(workload.spec)
    plain = build(layers, shape, CLASSES, device)
    plain.tune(batch_size)
    chosen = {name: algorithm for name, algorithm in plain.algorithms.items() if name.startswith("conv")}
    standardized = build(layers, shape, CLASSES, device, convolution=chosen, normalization="weight")
    steps = [_step(network, workload, batch_size) for network in (plain, standardized)]

    def launches() -> None:
        standardized.parameters.to_trained_gradients()
        standardized.parameters.to_values()

    sides = [*(step.run for step in steps), launches]
    clock, times = clock_between(device.synchronize), STEPS_PER_TURN[device.target]
    seconds: list[list[float]] = [[] for _ in sides]
    for side in sides:
        clock(side, WARM_UPS_OF_GRAPHS)
    for index in turns(len(sides), rounds):
        seconds[index].append(clock(sides[index], times))
    first, second, third = map(median, seconds)
    return first, second, third


def _step(network: Network, workload: Workload, batch_size: int) -> TrainingStep:
    step = TrainingStep(network, Adam(network.device, network.parameters, LEARNING_RATE), batch_size)
    images, labels = workload.batch(batch_size)
    inputs = network.device.to_host(network.encode(images))
    step.send(np.ascontiguousarray(inputs), labels.astype(np.int32))
    return step
