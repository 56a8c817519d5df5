"""The stages of a deep check: each finds what is planted, on an emulated GPU, a stand-in for one, or made-up tools."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator.device import EmulatedGpu
from helpers.kept_notes import Kept
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy import models
from ttfs_cupy.benchmarks import passes
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Finding
from ttfs_cupy.check.deep.stages import (
    checks,
    compilation,
    environment,
    graphs,
    listing,
    parity,
    profiles,
    speed,
    training,
)
from ttfs_cupy.check.deep.stages.profiles import Span
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution import tuner
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation.cubins import Cubin
from ttfs_cupy.device.compilation.nvrtc import Usage
from ttfs_cupy.device.compilation.source import Unit

SMALL = ConvolutionShape((6, 5), 16, 12, (3, 3), padding=(1, 1))
CPU = CpuDevice(1)


# environment


class Halves(CpuDevice):
    """Multiplies as a GPU does that was told it may."""

    def multiply(self, *stacks: Any, **options: Any) -> None:
        super().multiply(*stacks, **options)
        out = stacks[2].array
        out[...] = out.astype(np.float16)


def test_a_product_that_is_not_float32(kept: Kept) -> None:
    environment.products(kept, CPU, 64)
    assert kept.marked() == []
    environment.products(kept, Halves(1), 64)
    (text,) = kept.marked()
    assert text.startswith("float32 product by the engine: error ") and text.endswith("it is not float32")


def test_what_nvidia_smi_says(kept: Kept, on_path: Callable[[str, str], None]) -> None:
    values = [f"value {number}" for number in range(len(environment.QUERY.split(",")))]
    on_path("nvidia-smi", f"print({', '.join(values)!r} if '--format=csv,noheader' in sys.argv else 'a table')")
    environment.run(kept, "cpu")
    figures, _ = kept.take()
    (machine,) = [figure for figure in figures if figure["record"] == "Machine"]
    assert machine["gpus"] == [dict(zip(environment.QUERY.split(","), values, strict=True))]
    assert any(figure["record"] == "Tool" and figure["path"] for figure in figures)


# compile


def test_without_nvrtc_a_cpu_compiles_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UserError("CuPy is not installed")

    monkeypatch.setattr(compilation.nvrtc, "version", missing)
    compilation.run(kept, "cpu")
    assert kept.take() == ([], [Finding("nothing is compiled for GPUs: CuPy is not installed")])


def cubin(file: str, path: Path, *, spills: int = 0) -> Cubin:
    usage = tuple(Usage(kernel, 90, 40, 0, spills, spills, 0) for kernel in ("copy", "fill"))
    return Cubin(Unit(file), "90", path, "", usage)


def test_spills_are_told_and_registers_kept(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {each.unit: each for each in (cubin("arrays", tmp_path), cubin("optimizer", tmp_path, spills=8))}
    asked: list[Any] = []

    def compile_ahead(units: Any, capability: Any, *, progress: bool) -> Any:
        asked.append((list(units), capability))
        return found

    monkeypatch.setattr(compilation.cubins, "compile_ahead", compile_ahead)
    compilation.run(kept, "cpu")
    ((units, capability),) = asked
    assert capability == compilation.CAPABILITY_ON_A_CPU and len({unit.file for unit in units}) > 4
    figures, (spilling, done) = kept.take()
    assert [figure["spills"] for figure in figures[:-1]] == [0, 0, 8, 8]
    assert (spilling.text, spilling.attention) == ("2 kernels spill registers: copy, fill", True)
    assert done.text.startswith("2 units compiled for 9.0, or taken from the cache, in ")


def test_a_unit_that_the_driver_refuses_leaves_the_others(kept: Kept, tmp_path: Path) -> None:
    device, taken = CpuDevice(1), []

    def module(path: str) -> Any:
        if path.endswith("bad"):
            raise RuntimeError("no binary for this GPU")
        return SimpleNamespace(get_function=taken.append)

    device.xp = SimpleNamespace(RawModule=module)  # type: ignore[assignment]
    found = {each.unit: each for each in (cubin("arrays", tmp_path / "bad"), cubin("optimizer", tmp_path / "good"))}
    assert compilation.load(kept, device, found) == 1
    assert "adam" in taken and "copy" not in taken
    (text,) = kept.marked()
    assert text.endswith("RuntimeError: no binary for this GPU") and "'arrays'" in text


def test_what_a_network_asks_for_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def agrees(trial: Any, algorithm: Any, which: Any) -> bool:
        trial.body(algorithm, which)()
        return True

    monkeypatch.setattr(tuner._Trial, "agrees", agrees)
    listed = set(listing.variants_of(EmulatedGpu()))
    workload = WORKLOADS["vgg7"]
    asked = listing.Listing(EmulatedGpu())
    network = models.build(list(workload.spec), workload.input_shape, device=asked, clip="separate")
    images, labels = np.zeros((listing.BATCH, 28, 28, 1), np.float32), np.zeros(listing.BATCH, np.int32)
    network.differentiate(images, labels)
    network.tune(2, tuner.Tuner(asked, tuner.TuningCache(tmp_path / "tuning.json")))
    network.differentiate(images, labels)
    assert len(asked.variants) > 50
    assert set(asked.variants) <= listed


# check


def test_what_check_finds_wrong_needs_attention(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("run_algorithms", "run_network", "cuda_stack"):
        monkeypatch.setattr(checks, part, lambda *_: None)
    monkeypatch.setattr(checks, "run_kernels", lambda report, device: report.problem("fire is wrong"))
    checks.run(kept, "cpu")
    assert kept.marked() == ["fire is wrong"]


# graph

CASE = graphs.Case(graphs.TINY, 4)


def test_a_graph_has_the_bits_of_launches(kept: Kept) -> None:
    graphs.replay(kept, device_of(Machine()), CASE)
    ((figure,), (finding,)) = kept.take()
    assert (figure["graphs"], figure["same_bits"], finding.attention) == (1, True, False)


@pytest.mark.usefixtures("lossy_graphs")
def test_a_graph_that_computes_something_else(kept: Kept) -> None:
    graphs.replay(kept, device_of(Machine()), CASE)
    assert kept.marked() == [f"{CASE}: a step has other bits as a graph than kernel by kernel"]


def test_a_step_that_is_not_recorded_says_why(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ttfs_cupy")
    graphs.replay(kept, device_of(Machine(refuses_capture=True)), CASE)
    (text,) = kept.marked()
    assert text.startswith(f"{CASE}: 0 graphs instead of 1: training steps are launched kernel by kernel")


def test_a_nan_that_is_lost(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs.nan_gradients(kept, CPU, SMALL)
    assert kept.marked() == []
    real = Gemm.weight_gradient

    def lossy(self: Gemm, images: Any, outgoing: Any, grad_weights: Any, workspace: Any) -> None:
        real(self, images, outgoing, grad_weights, workspace)
        grad_weights[0, 0, 0, 0] = 0

    monkeypatch.setattr(Gemm, "weight_gradient", lossy)
    graphs.nan_gradients(kept, CPU, SMALL)
    (text,) = kept.marked()
    assert text.startswith("of a gradient made of NaN comes out finite: gemm weight_gradient")


# profile


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=20))
def test_time_in_which_a_kernel_runs_counts_once(spans: list[tuple[int, int]]) -> None:
    microseconds = {each for start, length in spans for each in range(start, start + length)}
    assert profiles.busy(Span("", start, start + length) for start, length in spans) == len(microseconds)


def test_a_profile(kept: Kept) -> None:
    spans = [Span("void forward<3>(float)", 100 * n, 100 * n + 40) for n in range(10)]
    spans += [Span("add(float)", 100 * n + 20, 100 * n + 60) for n in range(5)]
    profiles.profile(kept, {"a step": 200.0}, {"a step": spans})
    figures, (finding,) = kept.take()
    assert figures[0] == {"record": "Busy", "work": "a step", "kernels": 3.0, "microseconds": 100.0}
    assert [(one["kernel"], one["times"], one["microseconds"]) for one in figures[1:]] == [
        ("forward<3>", 2.0, 80.0),
        ("add", 1.0, 40.0),
    ]
    assert finding.text == "a step: 0.200 ms, 3 kernels for 50% of it; us: forward<3> 80, add 40"
    assert not finding.attention


def test_a_profiler_that_sees_nothing(kept: Kept) -> None:
    profiles.profile(kept, {"a step": 200.0, "forward": 100.0}, {"a step": [Span("add", 0, 1)]})
    assert kept.marked() == ["forward: 0.100 ms, of which the profiler saw no kernel"]


def test_what_is_seen_is_parted_by_what_ran() -> None:
    names = ["copy", "at::native::fill", "one", "two", "void at::native::fill<3>", "at::native::fill", "three"]
    spans = [Span(name, number, number + 1) for number, name in enumerate(names)]
    found = profiles.parted(["a", "b", "c", "never ran"], reversed(spans))
    assert {work: [span.name for span in some] for work, some in found.items()} == {
        "a": ["one", "two"],
        "b": [],
        "c": ["three"],
    }


# parity


def spoil(monkeypatch: pytest.MonkeyPatch, layer: str, neurons: Any, factor: float) -> None:
    """Our network's weights into these neurons of a layer are multiplied by that from now on."""
    real = parity._network

    def spoiled(*given: Any) -> Any:
        network, images, labels = real(*given)
        weights = network.state_dict()
        weights[f"{layer}.weight"][neurons] *= factor
        network.load_state_dict(weights)
        return network, images, labels

    monkeypatch.setattr(parity, "_network", spoiled)


def test_a_network_that_is_not_the_same(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    for at in (parity.at_slope_0, parity.at_slope_1):
        at(kept, CPU, graphs.TINY, 8)
        assert kept.marked() == []
    spoil(monkeypatch, "conv2", slice(None), 1.01)
    parity.at_slope_0(kept, CPU, graphs.TINY, 8)
    (text,) = kept.marked()
    assert text.startswith("tiny 8, psp_slope 0 beside float64: conv2 deviates by ") and "conv1 deviates" not in text


def test_a_first_layer_that_flips(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    spoil(monkeypatch, "conv1", 0, -1)
    parity.at_slope_1(kept, CPU, graphs.TINY, 8)
    (text,) = kept.marked()
    assert "the first layer is not the same: " in text


# bench, train


def test_a_peer_that_is_faster_needs_attention_on_a_gpu(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    row = dict.fromkeys(speed.Speed.__dataclass_fields__) | {"network": "vgg7", "batch_size": 9, "problem": ""}
    rows = [
        row | {"side": "ttfs_cupy", "milliseconds": 2.0, "ratio": 1.0},
        row | {"side": "eager", "milliseconds": None, "problem": "PyTorch ran out of memory"},
        row | {"side": "ann", "milliseconds": 1.8, "ratio": 0.9},
    ]
    asked: list[list[str]] = []

    def bench(arguments: list[str]) -> int:
        asked.append(arguments)
        Path(arguments[arguments.index("--json") + 1]).write_text(json.dumps({"results": rows}))
        return 0

    monkeypatch.setattr(speed.command, "main", bench)
    speed.compare(kept, CPU, "vgg7", 9, alone=False)
    speed.compare(kept, device_of(Machine()), "vgg7", 9, alone=True)
    figures, (on_cpu, on_gpu) = kept.take()
    assert [figure["milliseconds"] for figure in figures] == [2.0, None, 1.8] * 2
    assert (on_cpu.attention, on_gpu.attention) == (False, True)
    assert on_gpu.text == (
        "vgg7 9, a step: ttfs_cupy 2.00 ms, eager: PyTorch ran out of memory, ann 1.80 ms (0.90 times as long)"
    )
    assert "--against" not in asked[0] and asked[1][-2:] == ["--against", "none"]
    assert asked[0][-2:] == ["--threads", "1"] and "--threads" not in asked[1]


def test_without_pytorch_a_sentence_says_so(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find_spec", lambda name: None)
    monkeypatch.setattr(speed, "compare", lambda *_, alone: kept.say(f"alone {alone}"))
    for stage in (speed, parity):
        stage.run(kept, "cpu")
    environment._torch_settings(kept, CPU)
    texts = [finding.text for finding in kept.take()[1]]
    assert len(texts) == 3 and all(text.startswith("PyTorch is not installed: ") for text in texts)


def test_a_pytorch_without_cuda_takes_no_part_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tools.torch_trouble(CPU) is None
    trouble = tools.torch_trouble(device_of(Machine()))
    assert trouble is not None and trouble.endswith("finds no CUDA device")
    assert not passes.has_cudnn()


@pytest.mark.parametrize(("code", "how"), [(2, "ended with exit code 2"), (None, "was killed, out of time")])
def test_a_quickstart_that_fails(code: int | None, how: str, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(tools, "run", lambda *_: tools.Output("some\nerror: what", code))
    training.quickstart(kept, CPU, 9)
    assert kept.marked() == [f"the quickstart {how}: error: what"]
