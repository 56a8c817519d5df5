"""Predicts a training step on GPUs that are not at hand: python -m ttfs_cupy.benchmarks.gpu_model.

Nothing is measured. What the engine would launch is taken from its own code, compiled for the GPU; how long that takes
follows from data sheets and the assumptions that are printed. python -m ttfs_cupy.bench measures it on a GPU.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.gpu_model.__main__")

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.gpu_model import batches, changes, tables
from ttfs_cupy.benchmarks.gpu_model import peers as gpu_peers
from ttfs_cupy.benchmarks.gpu_model.assumptions import GPUS, Assumptions
from ttfs_cupy.benchmarks.gpu_model.operations import step as operations
from ttfs_cupy.benchmarks.gpu_model.ours import Part, layers_of, trace
from ttfs_cupy.benchmarks.gpu_model.tables import Prediction
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.files.writing import write_atomically


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run(lambda: conclude(parsed), process_ends=arguments is None)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.gpu_model", description=__doc__)
    add = parser.add_argument
    add("--gpu", nargs="+", choices=GPUS, default=list(GPUS), help="default: all of them")
    options.add_networks_and_batch_sizes(parser, [128, 256])
    add("--layers", action="store_true", help="also each layer and pass of ours, and each operation of PyTorch's")
    add("--json", type=Path, metavar="FILE", help="writes all numbers there")
    return parser


def conclude(parsed: argparse.Namespace) -> None:
    options.check_files(parsed.json, None)
    given = Assumptions()
    say(tables.assumptions(given, [GPUS[name] for name in dict.fromkeys(parsed.gpu)]), "", tables.COLUMNS)
    predictions = []
    for name in dict.fromkeys(parsed.gpu):
        for network in dict.fromkeys(parsed.networks):
            for batch_size in dict.fromkeys(parsed.batch_size):
                predictions.append(predict(name, network, batch_size, given))
                say(tables.row(predictions[-1]))
    say("", tables.LEGEND)
    for found in predictions:
        if found.batches:
            say("", tables.batches(found))
    if parsed.layers:
        for found in predictions:
            say("", tables.layers(found))
        for network in dict.fromkeys(parsed.networks):
            say("", tables.operations(network))
    for found in predictions:
        if found.gains:
            say("", tables.changes(found))
    if parsed.json is not None:
        content = {
            "assumptions": dataclasses.asdict(given),
            "gpus": [dataclasses.asdict(GPUS[name]) for name in dict.fromkeys(parsed.gpu)],
            "predictions": [_plain(found) for found in predictions],
            "operations": {
                network: {
                    side: [
                        {"layer": placed.layer.name, **dataclasses.asdict(placed.operation)}
                        for placed in operations(layers_of(WORKLOADS[network]), side)
                    ]
                    for side in tables.PEERS
                }
                for network in parsed.networks
            },
        }
        write_atomically(parsed.json, (json.dumps(content, indent=1) + "\n").encode())


def predict(gpu_name: str, network: str, batch_size: int, given: Assumptions) -> Prediction:
    """All sides of one task. Raises UserError where NVRTC cannot be loaded."""
    gpu, workload = GPUS[gpu_name], WORKLOADS[network]
    layers = layers_of(workload)
    launched = trace(workload, batch_size, gpu)
    peers = [
        gpu_peers.step(layers, side, batch_size, gpu, given, allow_tf32=allow)
        for side in tables.PEERS
        for allow in ((True, False) if gpu.tf32 else (False,))
    ]
    gains = changes.gains(launched, given) if gpu.limits.has_tensor_cores else ()
    # AutoAugment and crops over grey are for photographs
    made = batches.AUGMENTATIONS if workload.input_shape[0] == 3 else ("none",)
    return Prediction(
        *(gpu, network, batch_size, launched.step(given), launched.step(given, "gemm"), tuple(peers), tuple(gains)),
        tuple(batches.part(workload, batch_size, augment, gpu, given) for augment in made),
    )


def _plain(found: Prediction) -> dict[str, Any]:
    """For JSON; times in milliseconds, of parts and launches in microseconds."""
    return {
        "gpu": found.gpu.name,
        "network": found.network,
        "batch_size": found.batch_size,
        "ours": {
            "milliseconds": found.ours.time / 1e3,
            "launches": found.ours.launches,
            "bytes": found.ours.bytes,
            "floor_bytes": found.ours.floor,
            "parts": [_plain_part(part) for part in found.ours.parts],
        },
        "gemm": {"milliseconds": found.gemm.time / 1e3, "launches": found.gemm.launches, "bytes": found.gemm.bytes},
        "peers": [{**dataclasses.asdict(peer), "milliseconds": peer.time / 1e3} for peer in found.peers],
        "batches": [_plain_part(part) for part in found.batches],
        "changes": [dataclasses.asdict(gain) for gain in found.gains],
    }


def _plain_part(part: Part) -> dict[str, Any]:
    launches = [
        {
            "kernel": one.recorded.kernel,
            "microseconds": one.time,
            "needs": one.needs,
            "bound": one.bound,
            "bytes": one.recorded.bytes,
            "tflop": one.tflop,
            "blocks": one.recorded.blocks,
            "resident_blocks": one.resident,
            "warps": one.warps,
            "waves": one.waves,
            "registers": one.registers,
            "shared_bytes": one.recorded.shared_bytes,
            "constants": dict(one.recorded.variant.constants) if one.recorded.variant else {},
        }
        for one in part.launches
    ]
    names = {"layer": part.layer, "pass": part.which, "algorithm": part.algorithm, "microseconds": part.time}
    return {**names, "useful_tflop": part.useful_tflop, "floor_bytes": part.floor, "launches": launches}
