"""How long an all-reduce takes, and how much of it backward hides. Times are microseconds, bandwidths GB/s."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ttfs_cupy.benchmarks.scaling_model.assumptions import PROTOCOLS, Assumptions, Network, NvLink, Protocol
from ttfs_cupy.device.parts import parts


@dataclass(frozen=True)
class Fabric:
    """What lies between the GPUs of a run."""

    nvlink: NvLink
    network: Network
    given: Assumptions

    def machines(self, ranks: int) -> int:
        return parts(ranks, int(self.given.machine))

    def bandwidth(self, ranks: int) -> float:
        """Of the narrowest place of a ring through so many GPUs."""
        if self.machines(ranks) == 1:
            return self.nvlink.bandwidth
        return min(self.nvlink.bandwidth, self.network.nominal * self.given.network_share)


@dataclass(frozen=True)
class Exchange:
    """One all-reduce. how: the algorithm and protocol that are the fastest by the model."""

    time: float
    how: str


NOTHING = Exchange(0.0, "")


def all_reduce(size: int, ranks: int, fabric: Fabric) -> Exchange:
    """Of so many bytes of each of the ranks, by whichever of NCCL's ways takes the shortest, as NCCL chooses."""
    if ranks == 1:
        return NOTHING
    return min((_by(way, size, ranks, fabric) for way in PROTOCOLS), key=lambda found: found.time)


def half_of_it(size: int, ranks: int, fabric: Fabric) -> float:
    """The time of a reduce-scatter, or of an all-gather: once around the ring, where an all-reduce goes twice. There
    is no tree for them."""
    if ranks == 1:
        return 0.0
    rings = [way for way in PROTOCOLS if way.algorithm == "ring"]
    return min(_by(way, size, ranks, fabric, rounds=1).time for way in rings)


def _by(way: Protocol, size: int, ranks: int, fabric: Fabric, rounds: int = 2) -> Exchange:
    """NCCL's own model (ncclTopoTuneModel, ncclTopoGetAlgoTime): a ring's data makes R - 1 steps of a part in each
    round, those between machines over the network; in a tree it goes up and down, along a machine's GPUs and from
    machine to machine."""
    machines = fabric.machines(ranks)
    share = fabric.bandwidth(ranks) * way.share(machines)
    if way.name == "LL":
        share = min(share, fabric.nvlink.most_by_ll[min(machines, 3) - 1])
    bandwidth = 1e3 * share * way.of_size(size)  # bytes a microsecond
    if way.algorithm == "ring":
        steps, outside = rounds * (ranks - 1), rounds * (machines - 1)
        least = fabric.nvlink.overhead * (3 if way.name == "Simple" else 1) if machines > 1 else 0.0
        latency = way.base + (steps - outside) * max(way.nvlink, least) + outside * way.network
        if machines > 1 and rounds == 2:
            latency *= way.longer
        transfer = steps / ranks * size / bandwidth
    else:
        inside = parts(ranks, machines) - 1
        latency = way.base + 2 * (inside * way.nvlink + int(math.log2(machines)) * way.network)
        transfer = 2 * size / bandwidth
    return Exchange(latency + transfer, f"{way.algorithm} {way.name}")


@dataclass(frozen=True)
class Timeline:
    """Of a step: alone, without exchange; exchange, by itself; time, with both. Shown is what the exchange makes the
    step longer by, hidden the rest of it."""

    alone: float
    exchange: float
    time: float

    @property
    def shown(self) -> float:
        return self.time - self.alone

    @property
    def hidden(self) -> float:
        return self.exchange - self.shown


def overlapped(
    before: float, ready: Sequence[float], exchanges: Sequence[float], after: float, slower: float
) -> Timeline:
    """Buckets exchanged one after the other, each as soon as its gradients are there.

    before: of the step, until backward begins. ready: microseconds of backward until each bucket's gradients are there,
    the last of them the whole of it. after: the optimiser's. slower: the share of its speed that computing loses while
    an exchange runs beside it.
    """
    total = ready[-1]
    time = done = 0.0  # by the clock since backward began, and of backward
    for due, exchange in zip(ready, exchanges, strict=True):
        wait = max(0.0, due - done)
        time, done = time + wait, done + wait
        beside = min(exchange, (total - done) / (1 - slower))
        time, done = time + exchange, done + beside * (1 - slower)
    rest = max(0.0, total - done)
    return Timeline(before + total + after, sum(exchanges), before + time + rest + after)
