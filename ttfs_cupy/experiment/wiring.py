"""What carries a run's gradients from rank to rank, and what the log says of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ttfs_cupy.common.shown import listed
from ttfs_cupy.data.share import Share
from ttfs_cupy.device import CudaDevice, Device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.ranks.all_reduce import AllReduce, all_reduce_of
from ttfs_cupy.ranks.group import ALONE, Group
from ttfs_cupy.ranks.wires.interface import Wire

# of a run on many machines, how many the log names
MOST_HOSTS = 16


@dataclass(frozen=True)
class Wiring:
    """The processes of a run, and the exchange of their gradients; of one process neither exchanges anything."""

    group: Group = ALONE
    all_reduce: AllReduce | None = None
    lines: tuple[str, ...] = ()


@contextmanager
def wired(group: Group, network: Network, batch_size: int) -> Iterator[Wiring]:
    """Connects the ranks for batches of so many images in all, and ends the connection with the block."""
    if group.size == 1:
        yield Wiring()
        return
    parameters = network.parameters
    layout = parameters.gradients, parameters.starts.values(), parameters.decayed
    with connected(group, network.device) as wire, all_reduce_of(network.device, wire, *layout) as all_reduce:
        devices = group.gather(network.device.name)
        buckets, size = len(all_reduce.buckets), parameters.gradients.nbytes / 2**20
        exchange = f"gradients go by {wire.name}: {size:,.1f} MiB a step, in {buckets} bucket{'s' * (buckets > 1)}"
        lines = (_processes(group, devices), f"  {exchange}", f"  {_shares(batch_size, group.size)}")
        yield Wiring(group, all_reduce, lines)


@contextmanager
def connected(group: Group, device: Device) -> Iterator[Wire]:
    """What connects the ranks of a group until the block's orderly end; a loss ends it."""
    wire = wire_of(group, device)
    group.on_loss(wire.abort)
    yield wire
    wire.close()


def wire_of(group: Group, device: Device) -> Wire:
    """What connects the ranks of a group on such devices: NCCL between GPUs, between CPUs what they have met by."""
    # a run of one process needs none of them
    if isinstance(device, CudaDevice):
        from ttfs_cupy.ranks.wires.nccl import NcclWire

        return NcclWire(group, device)
    if group.place.meeting == "mpi":
        from ttfs_cupy.ranks.wires.mpi import MpiWire

        return MpiWire(group)
    from ttfs_cupy.ranks.wires.sockets import SocketsWire

    return SocketsWire(group)


def _processes(group: Group, devices: list[str]) -> str:
    """4 ranks train as one: ranks 0 and 1 on node1 (cuda:0, cuda:1; processes 71 and 72), ...

    A launcher's message of a process that has died may name its number alone.
    """
    hosts: dict[str, list[int]] = {}
    for rank, member in enumerate(group.members):
        hosts.setdefault(member.host, []).append(rank)
    told = (
        f"{_ranks(ranks)} on {host} ({listed(dict.fromkeys(devices[r] for r in ranks))}; "
        f"process{'es' * (len(ranks) > 1)} {listed([str(group.members[r].process) for r in ranks], MOST_HOSTS)})"
        for host, ranks in hosts.items()
    )
    return f"{group.size} ranks train as one: {listed(told, MOST_HOSTS)}"


def _ranks(ranks: list[int]) -> str:
    *others, last = ranks
    if not others:
        return f"rank {last}"
    if len(others) > 1 and last - others[0] == len(others):
        return f"ranks {others[0]} to {last}"
    return f"ranks {', '.join(map(str, others))} and {last}"


def _shares(batch_size: int, ranks: int) -> str:
    most, least = Share(0, ranks).count(batch_size), Share(ranks - 1, ranks).count(batch_size)
    if most == least:
        return f"of each batch of {batch_size} images a rank has {most}"
    return f"of each batch of {batch_size} images the first {batch_size % ranks} ranks have {most}, the others {least}"
