"""The predictions as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from ttfs_cupy.benchmarks.gpu_model import operations as gpu_operations
from ttfs_cupy.benchmarks.gpu_model.assumptions import FFMA, TF32, Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_model.changes import Gain
from ttfs_cupy.benchmarks.gpu_model.ours import Part, Step, layers_of
from ttfs_cupy.benchmarks.gpu_model.peers import PeerStep
from ttfs_cupy.benchmarks.workload import WORKLOADS

PEERS = ("eager", "ann")


@dataclass(frozen=True)
class Prediction:
    """A training step of every side."""

    gpu: Gpu
    network: str
    batch_size: int
    ours: Step
    gemm: Step
    peers: tuple[PeerStep, ...]
    gains: tuple[Gain, ...]
    batches: tuple[Part, ...]

    def peer(self, side: str, number: str) -> PeerStep | None:
        return next((peer for peer in self.peers if (peer.side, peer.number) == (side, number)), None)


COLUMNS = (
    f"{'':18}{'':>6}{'ours':>9}{'gemm':>9}{'T2FSNN':>20}{'in float32':>20}{'ANN':>17}{'in float32':>17}"
    f"{'bytes':>10}{'launches':>10}\n"
    f"{'GPU':9}{'network':9}{'batch':>6}{'ms':>9}{'ms':>9}{'ms':>12}{'ratio':>8}{'ms':>12}{'ratio':>8}"
    f"{'ms':>9}{'ratio':>8}{'ms':>9}{'ratio':>8}{'of floor':>10}"
)
LEGEND = (
    "Predictions, nothing is measured. ratio: ms of a side to ms of ours; above 1 means that ours is faster.\n"
    "T2FSNN: its way in eager PyTorch. ANN: three convolutions a step, not five. cuDNN multiplies in TF32, or in\n"
    "float32, as python -m ttfs_cupy.bench --precision float32 sets it.\n"
    "ours: each pass by direct, first_layer, tensorcore or gemm, whichever is the fastest by the model; gemm: all of\n"
    "them by it. Bound by latency: by loads that warps wait for.\n"
    "bytes of floor: what our passes read and write, every array of a launch once, to each activation array once a\n"
    "pass; that the L2 absorbs what blocks beside one another read again is assumed."
)


def assumptions(given: Assumptions, gpus: Sequence[Gpu]) -> str:
    lines = ["Assumptions", *given.lines(), "", "GPUs"]
    for gpu in gpus:
        lines.append(
            f"{gpu.name}: {gpu.multiprocessors} multiprocessors at {gpu.clock:g} GHz, memory {gpu.memory:g} GB/s, "
            f"L2 {gpu.l2:g} GB/s; TFLOP/s: float32 {gpu.ffma:g}, TF32 {gpu.tf32:g}, half {gpu.half:g}; "
            f"mma.sync reaches {gpu.mma_share:g} of them ({gpu.source})"
        )
    return "\n".join(lines)


def row(found: Prediction) -> str:
    """Under COLUMNS."""
    ours = found.ours.time
    cells = f"{found.gpu.name:9}{found.network:9}{found.batch_size:6}{ours / 1e3:9.2f}{found.gemm.time / 1e3:9.1f}"
    for side, width in zip(PEERS, (12, 9), strict=True):
        for number in (TF32, FFMA):
            peer = found.peer(side, number)
            cells += f"{'-':>{width}}{'':8}" if peer is None else f"{peer.time / 1e3:{width}.2f}{peer.time / ours:8.2f}"
    return cells + f"{found.ours.bytes / found.ours.floor:10.2f}{found.ours.launches:10}"


def layers(found: Prediction) -> str:
    """Each layer and pass of ours, by its longest launch."""
    lines = [
        f"{found.gpu.name}, {found.network}, batch {found.batch_size}: {found.ours.time / 1e3:,.2f} ms",
        f"{'layer':9}{'pass':17}{'algorithm':12}{'us':>9}{'launches':>10}  {'bound by':15}{'TFLOP/s':>9}{'blocks':>8}"
        f"{'resident':>10}{'warps':>7}{'waves':>7}{'registers':>11}{'KiB':>6}{'MB':>8}{'of floor':>10}",
    ]
    for part in found.ours.parts:
        one = part.longest
        speed = f"{one.tflop / one.time * 1e6:9.0f}" if one.tflop else f"{'':9}"
        start = f"{part.layer:9}{part.which.replace('_', ' '):17}{part.algorithm:12}{part.time:9.0f}"
        line = f"{start}{len(part.launches):10}  {one.bound:15}{speed}"
        if one.resident:
            line += f"{one.recorded.blocks:8}{one.resident:10}{one.warps:7}{one.waves:7.2f}{one.registers:11}"
            line += f"{one.recorded.shared_bytes >> 10:6}"
        else:
            line += f"{'':49}"
        lines.append(line + f"{part.bytes / 1e6:8.0f}" + (f"{part.bytes / part.floor:10.2f}" if part.floor else ""))
    return "\n".join(lines)


def batches(found: Prediction) -> str:
    """Batches made on the GPU, which come before each step."""
    lines = [
        f"{found.gpu.name}, {found.network}, batch {found.batch_size}: batches made on the GPU, with each augmentation"
    ]
    for part in found.batches:
        share, memory = part.time / found.ours.time, sum(launch.needs["memory"] for launch in part.launches)
        lines.append(
            f"  {part.which:18}{part.time:7.0f} us, {share:.1%} of a step: {len(part.launches)} launches, "
            f"{part.bytes / 1e6:.1f} MB in {memory:.0f} us"
        )
    return "\n".join(lines)


def operations(network: str) -> str:
    """What PyTorch's sides do in a step, and the bytes of an image's elements that each operation handles."""
    lines = []
    placed_layers = layers_of(WORKLOADS[network])
    for side in PEERS:
        lines.append(f"{network}, {side}: operations of a training step")
        for placed in gpu_operations.step(placed_layers, side):
            of = placed.operation
            handled = "by cuDNN" if of.convolution else f"{of.read:2} in {of.written:2} out an element of {of.elements}"
            lines.append(f"  {placed.layer.name:9}{of.name:34}{of.what:32}{handled}")
    return "\n".join(lines)


def changes(found: Prediction) -> str:
    """In the order in which they are best made; what each gains alone, and a step with it and those above it."""
    before = found.ours.time
    lines = [
        f"{found.gpu.name}, {found.network}, batch {found.batch_size}: what changes would gain, by the model",
        f"{'alone':>7}{'together, ms':>14}{'T2FSNN':>8}{'ANN':>7}",
    ]
    for gain in found.gains:
        time = gain.together or gain.time
        rates = "".join(
            f"{peer.time / time:{width}.2f}" if (peer := found.peer(side, TF32)) else f"{'':{width}}"
            for side, width in zip(PEERS, (8, 7), strict=True)
        )
        note = "" if gain.exact else " (alone; other arithmetic)"
        lines.append(f"{1 - gain.time / before:7.1%}{time / 1e3:14.2f}{rates}  {gain.what}{note}")
    return "\n".join(lines)
