"""python -m ttfs_cupy.benchmarks.gpu_model: what it counts, against hand computations and against PyTorch's runs."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ttfs_cupy.benchmarks import work
from ttfs_cupy.benchmarks.gpu_model import (
    __main__ as gpu_model,
)
from ttfs_cupy.benchmarks.gpu_model import (
    batches,
    kernels,
    operations,
    ours,
    peers,
)
from ttfs_cupy.benchmarks.gpu_model.assumptions import GPUS, Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_model.ours import LayerShape, Step, layers_of, trace
from ttfs_cupy.benchmarks.gpu_model.recorder import Recorded, RecordingGpu
from ttfs_cupy.benchmarks.peers.ann import Ann
from ttfs_cupy.benchmarks.peers.eager_t2fsnn import EagerNetwork
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device.compilation.source import Variant

GIVEN = Assumptions()

# No pass over activations: memory that nothing reads, a check of one_hot on CPUs, and marks of the profiler
NO_OPERATIONS = {"new_empty", "aminmax", "_local_scalar_dense", "_record_function_enter_new", "_record_function_exit"}


def test_a_batch_is_a_few_launches_over_its_bytes() -> None:
    workload, batch, gpu = WORKLOADS["vgg11"], 256, GPUS["H100"]
    plain = batches.part(workload, batch, "none", gpu, GIVEN)
    assert [one.recorded.kernel for one in plain.launches] == ["take_images", "encode_pixels", "end_batch"]
    pixels = batch * 32 * 32 * 3
    # of each image its place, occurrence and label, read by one and written for others; a code of 3 x 256 floats
    assert plain.bytes == pytest.approx(5 * pixels + 4 * 3 * 256 + 4 * batch * 8, rel=1e-3)
    moved = batches.part(workload, batch, "crop_flip", gpu, GIVEN)
    assert [one.recorded.kernel for one in moved.launches].count("encode_pixels") == 1 and len(moved.launches) == 4
    for size in (32, batch):
        whole = batches.part(workload, size, "cifar", gpu, GIVEN)
        assert whole.time < 0.05 * trace(workload, size, gpu).step(GIVEN).time


@pytest.mark.parametrize(("network", "gflop"), [("vgg7", 4.0), ("vgg11", 12.1)])
def test_flops_of_a_training_step(network: str, gflop: float) -> None:
    counted = 0
    for layer in layers_of(WORKLOADS[network]):
        products = sum(1 if which == "data_gradient" else 2 for which in layer.passes)
        counted += 2 * products * layer.shape.multiplications
    assert counted == work.flops(Task(WORKLOADS[network], 1), masked=True)
    assert counted / 1e9 == pytest.approx(gflop, rel=0.015)


@pytest.mark.parametrize(
    ("gpu", "threads", "registers", "kib", "blocks"),
    [
        # 200 registers of 8 warps of 32 are 51,200 of 65,536
        ("A100", 256, 197, 59, 1),
        # 144 of 4 warps: 18,432; 3 x (45 + 1) KiB of 164
        ("A100", 128, 140, 45, 3),
        ("H100", 128, 140, 45, 3),
        # 2 x (45 + 1) KiB of 100
        ("RTX4090", 128, 140, 45, 2),
        # 1,024 threads
        ("T4", 256, 32, 0, 4),
    ],
)
def test_occupancy(gpu: str, threads: int, registers: int, kib: int, blocks: int) -> None:
    assert GPUS[gpu].limits.resident_blocks(threads, registers, kib << 10) == blocks


FORWARD = Recorded(
    *("tensorcore_forward", 1000, 500),
    values=(("kernel_h", 3), ("kernel_w", 3), ("halo_pixels", 204), ("ranges", 1), ("range_chunks", 8)),
    variant=Variant(
        "tensorcore_forward",
        (
            *(("WARP_CHANNELS", 2), ("WARP_PIXELS", 4), ("WARPS_DOWN", 2), ("WARPS_ACROSS", 4)),
            *(("STAGES", 3), ("TAPS", 3), ("HAS_SUM", 1), ("SPLIT", 1), ("VECTOR", 4)),
        ),
        256,
    ),
    blocks=4096,
    shared_bytes=62 << 10,
)


def test_a_launch_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "registers", lambda variant, architecture: 197)
    gpu = GPUS["A100"]
    block = kernels.block_of(FORWARD, GIVEN)
    # 5 products of 64 channels, 128 pixels, 9 taps of 128 channels
    assert block.macs == 5 * 64 * 128 * 9 * 128
    # 8 chunks: 9 taps of 64 bytes for each channel, and 4 pieces of 16 bytes for each pixel of the halo
    assert block.l2_bytes == 8 * (9 * 64 * 64 + 204 * 64)
    timed = kernels.timed(FORWARD, gpu, GIVEN)
    assert (timed.resident, timed.warps) == (1, 8)
    assert timed.waves == pytest.approx(4096 / 108)
    # 38 blocks for the busiest multiprocessor, of 1024 multiply-adds a clock at 90 % and, with two warps, 85 % of that
    clocks = 38 * block.macs / (312e12 / 2 / 108 / 1.41e9 * 0.9 * 0.85)
    assert timed.needs["tensor cores"] == pytest.approx((clocks + 38 * 2200) / 1410)
    # 4500 GB/s for all blocks
    assert timed.needs["L2"] == pytest.approx(4096 * block.l2_bytes / 4500e3)
    assert timed.bound == "tensor cores"
    assert timed.time == timed.needs["tensor cores"] + 2


@pytest.mark.parametrize("gpu", GPUS.values(), ids=lambda gpu: gpu.name)
def test_the_engine_counts_with_the_same_rates(gpu: Gpu) -> None:
    """GpuLimits has them by compute capability, per multiprocessor and clock; the model has data sheets."""
    if gpu.tf32:
        assert gpu.limits.rates.half == pytest.approx(gpu.rates.half, rel=0.02)
        assert gpu.limits.rates.tf32 == pytest.approx(gpu.rates.tf32, rel=0.02)
    assert gpu.limits.rates.l2_bytes == pytest.approx(gpu.rates.l2_bytes, rel=0.02)


def test_a_change_alters_what_it_names() -> None:
    changed = GIVEN.changed(memory_share=0.5, of_part=32.0, first_rate=1.0)
    assert (changed.memory_share, changed.costs.of_part, changed.first_layer.first_rate) == (0.5, 32.0, 1.0)
    assert replace(changed, memory_share=0.85, costs=GIVEN.costs, first_layer=GIVEN.first_layer) == GIVEN


def test_no_two_assumptions_have_one_name() -> None:
    names = [line.partition(":")[0] for line in GIVEN.lines()]
    assert len(names) == len(set(names))


def test_the_recorder_counts_bytes() -> None:
    device = RecordingGpu(GPUS["T4"])
    pages = device.pages(1000)
    device.launch("potential", 1000, pages, None, device.pages(1), 1.0, None, device.pages(1000), 1, 1000)
    pages[:10] = 0
    assert [(one.kernel, one.written) for one in device.launches] == [("potential", 4000), ("copy", 40)]
    assert device.launches[0].read >= 4000


class Counting(TorchDispatchMode):
    """Counts operations, but for views."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        if not func.is_view and name not in NO_OPERATIONS:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("network", ["vgg7", "vgg11"])
@pytest.mark.parametrize("side", ["eager", "ann"])
def test_operations_are_those_that_run(network: str, side: str) -> None:
    workload = WORKLOADS[network]
    images, labels = (torch.from_numpy(array) for array in workload.batch(1))
    net: Any = (EagerNetwork if side == "eager" else Ann)(workload.spec, workload.weights())
    weights = net.parameters.values() if side == "eager" else net.parameters()
    optimizer = torch.optim.Adam(weights, 1e-4, fused=True)
    inputs = net.encode(images) if side == "eager" else images
    # the first step also makes the moments
    net.train_step(inputs, labels, optimizer)
    with Counting() as counting:
        net.train_step(inputs, labels, optimizer)
    assert counting.counts == operations.counts(layers_of(workload), side)


def test_passes_cost_what_they_move() -> None:
    """An operation whose arrays do not fit the cache takes its bytes at the memory's speed."""
    layers = layers_of(WORKLOADS["vgg11"])
    one, two = (peers.step(layers, "eager", batch, GPUS["A100"], GIVEN) for batch in (512, 1024))
    assert two.others / one.others == pytest.approx(2, rel=0.05)
    assert two.bytes / one.bytes == pytest.approx(2, rel=0.01)
    assert two.convolutions == pytest.approx(2 * one.convolutions, rel=0.01)
    assert one.host == one.operations * GIVEN.eager_operation


FIRST = ConvolutionShape((32, 32), 3, 128, (3, 3), padding=(1, 1))


@pytest.mark.parametrize("gpu", ["T4", "A100"])
def test_the_passes_of_a_pooled_layer_pool_together(gpu: str) -> None:
    layer = LayerShape("conv1", FIRST, pooled=True, is_first=True)
    device = RecordingGpu(GPUS[gpu])
    for which in layer.passes:
        found = ours._candidates(device, layer, which, 8)
        assert set(found.tuned) == {"first_layer", "tensorcore"} & set(found.choices)
        assert {"gemm", "direct", "first_layer"} <= set(found.choices)


@pytest.fixture(scope="module")
def vgg11_on_a100() -> Step:
    return trace(WORKLOADS["vgg11"], 256, GPUS["A100"]).step(GIVEN)


def test_a_layer_takes_four_launches(vgg11_on_a100: Step) -> None:
    """Packing its weights and three passes; a first layer's kernels pack nothing."""
    launches: Counter[str] = Counter()
    for part in vgg11_on_a100.parts:
        launches[part.layer] += len(part.launches)
    of_layers = {name: count for name, count in launches.items() if name.startswith("conv")}
    assert len(of_layers) == 10 and max(of_layers.values()) == 4 and of_layers["conv1"] <= 3


def test_the_first_layer_of_three_channels(vgg11_on_a100: Step) -> None:
    """Of the 16 channels that tensor cores multiply at a time 3 are there. Forward, their five products in halves still
    take about as long as FFMA's two; backward, in TF32, FFMA is the faster."""
    forward, gradient = (part for part in vgg11_on_a100.parts if part.layer == "conv1")
    candidates = trace(replace(WORKLOADS["vgg11"], spec=(128,)), 256, GPUS["A100"]).parts[0]
    by_ffma = candidates.part("first_layer", GPUS["A100"], GIVEN)
    assert forward.algorithm in ("tensorcore", "first_layer") and by_ffma.time <= 1.1 * forward.time
    assert by_ffma.longest.bound == "FFMA"
    assert gradient.algorithm == "first_layer" and gradient.longest.bound == "FFMA"
    # neither is far above what the products take by the data sheet, or below it
    for part in (by_ffma, gradient):
        assert 1 < part.time / (part.useful_tflop / GPUS["A100"].ffma * 1e6) < 2
        # every array once
        assert part.bytes == pytest.approx(part.floor, rel=0.02)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ttfs_cupy.benchmarks.gpu_model", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    file = tmp_path_factory.mktemp("model") / "numbers.json"
    result = run(*["--gpu", "A100", "T4", "--networks", "vgg7", "--batch-size", "256", "--layers", "--json"], str(file))
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout, json.loads(Path(file).read_text())


def test_the_command_prints_assumptions_and_tables(found: tuple[str, dict[str, Any]]) -> None:
    text, _ = found
    assert "cudnn_tf32_share:" in text and "NVIDIA A100 80GB SXM data sheet" in text
    assert "Predictions, nothing is measured." in text
    assert "A100     vgg7        256" in text and "T4       vgg7        256" in text
    assert "fired = times != inf" in text


def test_the_json_has_everything(found: tuple[str, dict[str, Any]]) -> None:
    _, numbers = found
    assert numbers["assumptions"]["cudnn_tf32_share"] == 0.6
    assert [gpu["name"] for gpu in numbers["gpus"]] == ["A100", "T4"]
    a100, t4 = numbers["predictions"]
    assert {(peer["side"], peer["number"]) for peer in a100["peers"]} == {
        *(("eager", "TF32"), ("eager", "float32"), ("ann", "TF32"), ("ann", "float32"))
    }
    parts = a100["ours"]["parts"]
    assert sum(part["microseconds"] for part in parts) == pytest.approx(1e3 * a100["ours"]["milliseconds"])
    assert {part["pass"] for part in parts} >= {"forward", "data_gradient", "weight_gradient", "loss", "optimiser"}
    of_conv2 = [part for part in parts if part["layer"] == "conv2"]
    assert {part["algorithm"] for part in of_conv2} == {"tensorcore"}
    # packing the weights and three passes
    assert sum(len(part["launches"]) for part in of_conv2) == 4
    assert all(launch["registers"] and launch["waves"] > 0 for part in of_conv2 for launch in part["launches"])
    assert all(np.isfinite(gain["time"]) and gain["what"] for gain in a100["changes"])
    # one channel: no tensor core comes near
    for predicted in (a100, t4):
        of_first = [part for part in predicted["ours"]["parts"] if part["layer"] == "conv1"]
        assert [(part["algorithm"], len(part["launches"])) for part in of_first] == [("first_layer", 1)] * 2
    assert not t4["changes"]
    assert {part["algorithm"] for part in t4["ours"]["parts"] if part["layer"] != "conv1"} <= {"gemm", "direct", ""}
    sides = numbers["operations"]["vgg7"]
    assert Counter(entry["name"] for entry in sides["eager"])["convolution"] == 12


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--gpu", "V100"), "V100"),
        (("--networks", "resnet"), "resnet"),
        (("--batch-size", "0"), "'0'"),
        (("--json", "/nowhere/at/all.json"), "/nowhere"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    arguments: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = gpu_model.main(arguments)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and named in captured.err
