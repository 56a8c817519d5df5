"""A rank's share of a global batch, and its training step: without the exchange of gradients, and with it."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ttfs_cupy.benchmarks.measure import clock_between, turns
from ttfs_cupy.benchmarks.ours import WARM_UPS_OF_GRAPHS, Ours, network_of
from ttfs_cupy.benchmarks.scaling.exchanges import AfterBackward
from ttfs_cupy.benchmarks.workload import LEARNING_RATE, Task
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.data.share import Share
from ttfs_cupy.device import Device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.ranks.all_reduce import AllReduce, HostAllReduce, all_reduce_of
from ttfs_cupy.ranks.group import Group
from ttfs_cupy.ranks.wires.interface import Wire

# What takes turns: a step of the share without exchange, with it beside backward, with it after backward; the exchange
# by itself; a step of the whole batch at rank 0, while the others wait.
ALONE, OVERLAPPED, AFTER, EXCHANGE, WHOLE = "alone", "overlapped", "after backward", "exchange", "whole batch"


@dataclass(frozen=True)
class Turn:
    """step: starts what is timed, which the clock waits for. before: what comes ahead of a turn of several. waited: for
    how many seconds steps have waited so far for sums, where that is counted."""

    step: Callable[[], object]
    before: Callable[[], object] = lambda: None
    waited: Callable[[], float] = lambda: 0.0


@dataclass(frozen=True)
class Lockstep:
    """By side, round by round. seconds: of a step, at the rank that takes the longest. waits: the seconds of a step in
    which the last rank to finish its backward waits for sums, so that it is the exchange alone that it waits for; 0 on
    GPUs, where the host does not see it."""

    seconds: dict[str, list[float]]
    waits: dict[str, list[float]]


class Rank:
    """One rank of a task, on its share of the batch. wire: None where it is the only one.

    Within `with`; at its end, or at an exception, the exchange ends.
    """

    def __init__(self, task: Task, group: Group, device: Device, wire: Wire | None):
        share = Share(group.rank, group.size)
        first, count = share.first(task.batch_size), share.count(task.batch_size)
        self.net = _same_network(task, group, device, count)
        self.optimizer = Adam(device, self.net.parameters, LEARNING_RATE)
        images, labels = task.workload.batch(task.batch_size)
        self._inputs = device.to_host(self.net.encode(images[first : first + count]))
        self._images = task.batch_size
        self._labels = labels[first : first + count].astype(np.int32)
        parameters = self.net.parameters
        layout = parameters.gradients, parameters.starts.values(), parameters.decayed
        self.exchange = None if wire is None else all_reduce_of(device, wire, *layout)

    def __enter__(self) -> "Rank":
        if self.exchange is not None:
            self.exchange.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        if self.exchange is not None:
            self.exchange.__exit__(*raised)

    @property
    def buckets(self) -> list[int]:
        """Bytes of each."""
        return [] if self.exchange is None else [bucket.bytes for bucket in self.exchange.buckets]

    def turns(self) -> dict[str, Turn]:
        sides = {ALONE: Turn(self._step(None).run)}
        if self.exchange is None:
            return sides
        return sides | {
            OVERLAPPED: Turn(self._step(self.exchange).run, waited=self._waited),
            AFTER: Turn(self._step(AfterBackward(self.exchange)).run, waited=self._waited),
            EXCHANGE: Turn(partial(self._alone, self.exchange), partial(self._clear, self.exchange)),
        }

    def _step(self, exchange: AllReduce | None) -> TrainingStep:
        step = TrainingStep(self.net, self.optimizer, len(self._inputs), all_reduce=exchange)
        step.send(self._inputs, self._labels, self._images)
        return step

    def _waited(self) -> float:
        return self.exchange.waited if isinstance(self.exchange, HostAllReduce) else 0.0

    def _alone(self, exchange: AllReduce) -> None:
        streams = self.net.device.streams
        with nullcontext() if streams is None else streams.step():
            exchange.finish()

    def _clear(self, exchange: AllReduce) -> None:
        """Sums of sums would leave the range of float32."""
        exchange.gradients[...] = 0


def _same_network(task: Task, group: Group, device: Device, images: int) -> Network:
    """Of the same weights and algorithms at all ranks: those of rank 0, whose share is the largest."""
    chosen: Mapping[str, str] | None = None
    if group.rank == 0:
        net = network_of(task, device)
        net.tune(images)
        chosen = {name: by for name, by in net.algorithms.items() if name.startswith("conv")}
    chosen = group.broadcast(chosen)
    if group.rank:
        net = network_of(task, device, chosen)
    net.load_state_dict(task.workload.weights())
    net.plan(images, training=True)
    return net


def whole_batch(task: Task, group: Group, device: Device) -> tuple[Turn | None, str]:
    """A step of the whole batch at rank 0, and nothing at another rank. None, and why, where memory is too small."""
    turn, problem = Turn(lambda: None), ""
    if group.rank == 0:
        try:
            turn = Turn(Ours(task, device).step)
        except (UserError, MemoryError) as error:
            problem = message_of(error)
    problem = group.broadcast(problem)
    return (None if problem else turn), problem


def in_lockstep(sides: Mapping[str, Turn], group: Group, device: Device, rounds: int, steps_per_turn: int) -> Lockstep:
    """All sides in turns, each of which all ranks begin together."""
    clock = clock_between(device.synchronize)
    names = list(sides)
    for side in sides.values():
        side.before()
        clock(side.step, WARM_UPS_OF_GRAPHS if device.streams else 1)
    found = Lockstep({name: [] for name in names}, {name: [] for name in names})
    for number in turns(len(names), rounds):
        name, side = names[number], sides[names[number]]
        side.before()
        group.gather(None)
        before = side.waited()
        seconds = clock(side.step, steps_per_turn)
        of_all = group.gather([seconds, (side.waited() - before) / steps_per_turn])
        found.seconds[name].append(max(seconds for seconds, _ in of_all))
        found.waits[name].append(min(waited for _, waited in of_all))
    return found
