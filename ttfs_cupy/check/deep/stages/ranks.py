"""Gradients that travel between GPUs: NCCL's calls in a step's graph, between all GPUs that there are.

With one rank NCCL has nothing to do, and enqueues nothing (enqueue.cc, ncclLaunchOneRank): on one GPU it is found out
that a communicator can be made and called, and that the streams which calls go to, forked and joined, are in the graph.

As a program it is one of several ranks: RANK RANKS PORT.
"""

import dataclasses
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.workload import CLASSES, LEARNING_RATE, WORKLOADS, Workload
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data.share import Share
from ttfs_cupy.device import CudaDevice, get_device
from ttfs_cupy.engine.optimizer import Sgd
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.models import build
from ttfs_cupy.ranks.all_reduce import all_reduce_of
from ttfs_cupy.ranks.group import ALONE, Group
from ttfs_cupy.ranks.together import together
from ttfs_cupy.ranks.wires.nccl import NcclWire

NETWORK = WORKLOADS["vgg7"]
# of all ranks together
BATCH = 128
# Launched, recorded, and replayed twice.
STEPS = 4
# Relative, in the norm: what the order of additions makes of float32 in so many steps
CLOSE = 1e-4

# What is exchanged to see how fast, in float32 values, and how often
VALUES, EXCHANGES = 1 << 24, 20


@dataclass(frozen=True)
class Exchange:
    """Steps with the exchange in their graph. deviation: of the weights from those of one rank, relative, in the norm.
    gigabytes: a second, of 64 MiB that are summed up over the ranks, as nccl-tests count a bus's."""

    ranks: int
    nccl: int
    graphs: int
    same_bits: bool
    deviation: float
    gigabytes: float | None = None


@dataclass(frozen=True)
class Trained:
    """What a rank has at its end: its weights' hash, too."""

    weights: np.ndarray
    digest: str
    graphs: int


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    if not isinstance(device, CudaDevice):
        notes.found(f"{device.name} has no NCCL: the exchange between GPUs is not looked at")
        return
    try:
        device.nccl()
    except UserError as error:
        notes.found(f"the exchange between GPUs is not looked at: {error}")
        return
    one(notes, device, NETWORK, BATCH)
    gpus = device.xp.cuda.runtime.getDeviceCount()
    if gpus > 1:
        several(notes, gpus)
    else:
        notes.found("there is one GPU: nothing travels")


def one(notes: Notes, device: CudaDevice, workload: Workload, batch_size: int) -> None:
    """A communicator of one rank, for which NCCL enqueues nothing, called in steps that are recorded and in others,
    beside steps that call none."""
    wire = NcclWire(ALONE, device)
    plain = _trained(ALONE, device, None, workload, batch_size)
    launched, replayed = (_trained(ALONE, device, wire, workload, batch_size, capture=on) for on in (False, True))
    wire.close()
    same = plain.digest == launched.digest == replayed.digest
    version = device.nccl().get_version()
    notes.record(Exchange(1, version, replayed.graphs, same, _deviation(replayed, plain)))
    if not same:
        notes.attention("a step that NCCL is called in has other bits than one without, by a graph or by launches")
    elif replayed.graphs != 1:
        notes.attention(f"a step that NCCL is called in is {replayed.graphs} graphs instead of 1: the log says why")
    else:
        notes.found(
            f"NCCL {version} takes the calls of a step that is recorded as one graph, with the bits of a step without "
            "them; of one rank it adds nothing up"
        )


def several(notes: Notes, gpus: int) -> None:
    """A process a GPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    commands = [[sys.executable, "-m", __name__, str(rank), str(gpus), port] for rank in range(gpus)]
    seconds = notes.left
    with ThreadPoolExecutor(gpus) as threads:
        ended = list(threads.map(lambda command: tools.run(command, seconds), commands))
    for rank, output in enumerate(ended):
        if output.code != 0:
            notes.say(output.short(3000))
            notes.attention(f"of {gpus} ranks, rank {rank} {output.ending}")
            return None
    found = Exchange(**json.loads(ended[0].text.strip().splitlines()[-1]))
    notes.record(found)
    text = f"{gpus} GPUs: weights deviate by {found.deviation:.1e} from one GPU's, {found.graphs} graph a step, "
    text += f"64 MiB are summed at {found.gigabytes:.0f} GB/s"
    is_sound = found.same_bits and found.graphs == 1 and found.deviation < CLOSE
    text += "" if found.same_bits else ", and not all ranks have the same bits"
    return (notes.found if is_sound else notes.attention)(text)


def of_rank(group: Group, device: CudaDevice, workload: Workload, batch_size: int, values: int = VALUES) -> Exchange:
    """What all ranks find together."""
    wire = NcclWire(group, device)
    group.on_loss(wire.abort)
    plain = _trained(ALONE, device, None, workload, batch_size)
    shared = _trained(group, device, wire, workload, batch_size)
    same = len(set(group.gather(shared.digest))) == 1
    deviation = max(group.gather(_deviation(shared, plain)))
    bytes_a_second = _speed(device, wire, values) * 2 * (group.size - 1) / group.size
    wire.close()
    version = device.nccl().get_version()
    return Exchange(group.size, version, shared.graphs, same, deviation, bytes_a_second / 1e9)


def _trained(
    group: Group,
    device: CudaDevice,
    wire: NcclWire | None,
    workload: Workload,
    batch_size: int,
    *,
    capture: bool = True,
) -> Trained:
    share = Share(group.rank, group.size)
    network = build(list(workload.spec), workload.input_shape, CLASSES, device=device)
    network.load_state_dict(workload.weights())
    network.plan(share.most(batch_size), training=True)
    parameters = network.parameters
    layout = parameters.gradients, parameters.starts.values(), parameters.decayed
    step = TrainingStep(
        *(network, Sgd(device, parameters, LEARNING_RATE), share.most(batch_size)),
        capture=capture,
        all_reduce=None if wire is None else all_reduce_of(device, wire, *layout),
    )
    images, labels = workload.batch(batch_size)
    first = share.first(batch_size)
    here = slice(first, first + share.count(batch_size))
    inputs = device.to_host(network.encode(images[here]))
    for _ in range(STEPS):
        step.send(inputs, labels[here].astype(np.int32), batch_size)
        step.run()
    device.synchronize()
    weights = device.to_host(parameters.values)
    return Trained(weights, hashlib.sha256(weights.tobytes()).hexdigest(), step.graphs)


def _deviation(found: Trained, expected: Trained) -> float:
    return float(np.linalg.norm(found.weights - expected.weights) / np.linalg.norm(expected.weights))


def _speed(device: CudaDevice, wire: NcclWire, values: int) -> float:
    """Bytes a second of an array that is summed; every rank as often as the others."""
    with device.current():
        array = device.xp.zeros(values, np.float32)

    def exchange(times: int) -> float:
        start = time.perf_counter()
        with device.streams.step():
            for _ in range(times):
                wire.all_reduce(array)
        device.synchronize()
        return time.perf_counter() - start

    exchange(3)
    return float(EXCHANGES * array.nbytes / exchange(EXCHANGES))


def main(arguments: Sequence[str]) -> int:
    """One rank of several; rank 0 prints what they found."""
    rank, ranks, port = arguments
    told = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update(told)

    def command(group: Group) -> None:
        found = of_rank(group, CudaDevice(int(rank)), NETWORK, BATCH)
        if group.rank == 0:
            print(json.dumps(dataclasses.asdict(found)))

    return together(command) or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
