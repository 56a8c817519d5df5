"""python -m ttfs_cupy.bench: what it prints and writes, its sentence for each mistake, and that its sides agree."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.environments import REPOSITORY
from reference.comparison import DEVICE

from ttfs_cupy import bench, models
from ttfs_cupy.benchmarks import measure, peak_memory, training_step, work
from ttfs_cupy.benchmarks.comparison import memory, results, sides, tables
from ttfs_cupy.benchmarks.measure import Measured, Running, Side
from ttfs_cupy.benchmarks.ours import Ours
from ttfs_cupy.benchmarks.peers import pytorch
from ttfs_cupy.benchmarks.peers.ann import Ann
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task, Workload
from ttfs_cupy.device import cuda_trouble, get_device

ROOT = REPOSITORY
TINY = Workload("tiny", (5, "P", 7), (2, 8, 6))
SMALL = ["--networks", "vgg7", "--batch-size", "2", "--rounds", "1", "--device", DEVICE]
ours_only = ["--against", "none", "--work", "inference"]

on_a_cpu_only = pytest.mark.skipif(cuda_trouble() is None, reason="this machine has a GPU")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    try:
        code = bench.main([str(argument) for argument in arguments])
    except SystemExit as ended:  # argparse's way
        assert isinstance(ended.code, int)
        code = ended.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# The command as a user runs it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    pytest.importorskip("matplotlib", reason="the extra bench brings it")
    command = [sys.executable, "-m", "ttfs_cupy.bench", *SMALL, "--layers"]
    files = ["--json", str(folder / "numbers.json"), "--plot", str(folder / "picture.png")]
    result = subprocess.run([*command, *files], capture_output=True, text=True, timeout=300, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture(scope="module")
def numbers(output: str, folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "numbers.json").read_text())
    return content


def test_the_table_has_a_line_for_each_side_and_work(output: str) -> None:
    lines = [line.split() for line in output.splitlines() if line.startswith("vgg7   ")]
    assert [(line[2], line[3]) for line in lines] == [
        (kind, side) for kind in ("step", "inference") for side in ("ttfs_cupy", "eager", "ann")
    ]
    assert all(line[4] in ("contiguous", "channels_last") for line in lines if line[3] == "ann")
    # the engine's own ratio
    assert all(line[-1] == "1.00" for line in lines if line[3] == "ttfs_cupy")


def test_it_says_what_was_measured_and_with_what(output: str) -> None:
    for text in (np.__version__, torch.__version__.split("+")[0], "threads", "peak: ", "device "):
        assert text in output
    assert "ratio: ms of a side to ms of ttfs_cupy" in output
    assert "another function: three convolutions a step, not five" in output


def test_the_numbers_are_complete_and_consistent(numbers: dict[str, Any]) -> None:
    assert set(numbers) == {"machine", "rounds", "sgemm_peak", "results", "layers", "memory"}
    assert set(numbers["machine"]["versions"]) >= {"Python", "ttfs-cupy", "numpy", "torch"}
    assert numbers["sgemm_peak"]["by"] in ("the engine", "NumPy", "PyTorch")
    base: dict[str, Any] = {}
    for row in numbers["results"]:
        base = row if row["side"] == "ttfs_cupy" else base
        assert set(row) == set(results.Row.__dataclass_fields__)
        assert (len(row["seconds"]), row["problem"]) == (1, "")
        assert row["fastest"] <= row["milliseconds"] <= row["slowest"]
        assert row["milliseconds"] == pytest.approx(1e3 * row["seconds"][0])
        assert row["images_per_second"] == pytest.approx(row["batch_size"] / row["seconds"][0])
        assert row["ratio"] == pytest.approx(row["milliseconds"] / base["milliseconds"])
        assert row["share_of_peak"] == pytest.approx(row["gflops"] / numbers["sgemm_peak"]["gflops"])
        if row["variants"]:
            assert row["milliseconds"] == pytest.approx(row["variants"][row["variant"]])
            assert row["milliseconds"] == pytest.approx(min(row["variants"].values()))


def test_the_layers_add_up_to_the_step(output: str, numbers: dict[str, Any]) -> None:
    (step,) = numbers["layers"]
    assert sum(part["milliseconds"] for part in step["parts"]) == pytest.approx(step["step_milliseconds"])
    assert sum(part["share"] for part in step["parts"]) == pytest.approx(1)
    convolutions = {part["layer"].split(" + ")[0]: set() for part in step["parts"] if part["gflops"]}
    for part in step["parts"]:
        if part["gflops"]:
            convolutions[part["layer"].split(" + ")[0]].add(part["part"])
    forward, backward = {"forward"}, {"weight gradient"}
    names = [f"conv{number}" for number in range(2, 7)] + ["readout"]
    assert convolutions == {"conv1": forward | backward, **{n: forward | backward | {"data gradient"} for n in names}}
    assert [part["part"] for part in step["parts"][-3:]] == ["loss", "optimiser", "elsewhere"]
    assert "outside of the convolutions: " in output


def test_the_picture_is_one(output: str, folder: Path) -> None:
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert {file.name for file in folder.iterdir()} == {"numbers.json", "picture.png"}


def test_alone_and_with_the_memory_of_its_process(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    code, out, err = run(capsys, *SMALL, *ours_only, "--memory", "--threads", "1", "--psp-slope", "0", "--json", file)
    assert (code, err) == (0, "")
    found = json.loads(file.read_text())
    (row,), (weighed,) = found["results"], found["memory"]
    assert (row["side"], row["psp_slope"], found["machine"]["torch"]) == ("ttfs_cupy", 0, {})
    assert weighed["footprint"]["peak"] >= weighed["footprint"]["ready"] > 0
    assert "peak memory in MiB" in out


@on_a_cpu_only
def test_a_peers_process_is_weighed() -> None:
    weighed = memory.weigh(Task(WORKLOADS["vgg7"], 2), "ann", ["contiguous"], "cpu", threads=1, steps=1)
    assert weighed.problem == ""
    assert weighed.footprint is not None
    # PyTorch's libraries alone
    assert weighed.footprint.peak > 50 << 20
    # without any to compare with, there is no ratio
    lost = replace(weighed, side="ttfs_cupy", footprint=None, problem="it was too large")
    assert "it was too large" in tables.memory([lost, weighed])


def test_a_process_that_fails_is_told_in_a_sentence() -> None:
    weighed = memory.weigh(Task(WORKLOADS["vgg7"], 10**8), "ttfs_cupy", [""], DEVICE, threads=None)
    assert weighed.footprint is None
    assert weighed.problem.startswith("a batch of 100000000, layer conv1: ")


def test_training_step_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert training_step.main(["--networks", "vgg7", "--batch-size", "2", "--rounds", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("vgg7 ")]
    assert [line[2:4] for line in lines] == [["step", "ttfs_cupy"], ["step", "eager"]]


def test_peak_memory_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert peak_memory.main(["--batch-size", "2", "--steps", "1"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("vgg7 ")]
    assert [line[3] for line in lines] == ["ttfs_cupy", "eager"]


def test_our_side_runs_without_pytorch() -> None:
    code = (
        "import sys; from ttfs_cupy.benchmarks.ours import Ours\n"
        "from ttfs_cupy.benchmarks.workload import WORKLOADS, Task, Workload\n"
        "from ttfs_cupy.device import get_device\n"
        "Ours(Task(Workload('tiny', (4, 'P'), (1, 4, 4)), 2), get_device('cpu')[0]).finished_step()\n"
        "assert 'torch' not in sys.modules and set(WORKLOADS) == {'vgg7', 'vgg11'}"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "vgg9"], "vgg9"),
        (["--batch-size", "0"], "must be a whole number from 1, not '0'"),
        (["--batch-size", "many"], "must be a whole number from 1, not 'many'"),
        (["--rounds", "-1"], "must be a whole number from 1, not '-1'"),
        (["--threads", "0"], "must be a whole number from 1, not '0'"),
        (["--psp-slope", "nan"], "must be a number from 0 to 1, not 'nan'"),
        (["--work", "sleep"], "sleep"),
        (
            ["--against", "keras"],
            "peer 'keras' is not known: use eager, compile, ann, with commas between them, or none",
        ),
        (["--against", "ann,"], "peer '' is not known"),
        (["--against", "ann,none"], "peer 'none' is not known"),
        (["--against", "eager", "--psp-slope", "0"], "peer 'eager' computes with psp_slope 1 only, not 0"),
        (["--device", "tpu"], "device 'tpu' is not known"),
        (["--json", "no/such/folder.json"], "no/such/folder.json cannot be written: there is no folder no/such"),
        (["--json", "."], "cannot be written: it is a folder"),
        (["--plot", "no/such.png"], "no/such.png cannot be written: there is no folder no"),
        (["--plot", "picture.jpg"], "has to end in .png, not 'picture.jpg'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


@on_a_cpu_only
def test_a_gpu_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--device", "cuda:1")
    assert (code, out) == (2, "")
    assert err.startswith("error: device 'cuda:1' cannot be used: ")


@pytest.mark.parametrize(
    ("package", "arguments", "remedy"),
    [
        ("torch", [], "pip install torch, or use --against none"),
        ("torch", ["--psp-slope", "0.5"], "PyTorch, which ann would run on, is missing: pip install torch"),
        ("matplotlib", ["--plot", "picture.png"], "pip install 'ttfs-cupy[bench]'"),
    ],
)
def test_a_package_that_is_missing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    package: str,
    arguments: list[str],
    remedy: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert remedy in err


def test_without_torch_it_runs_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    code, _, err = run(capsys, *SMALL, *ours_only)
    assert (code, err) == (0, "")


def test_a_batch_that_is_too_large_leaves_no_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, *SMALL, *ours_only, "--batch-size", "100000000", "--json", tmp_path / "numbers.json")
    assert code == 2
    assert err.startswith("error: a batch of 100000000, layer conv1: ")
    assert list(tmp_path.iterdir()) == []


def test_where_torch_compile_fails_the_others_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(function: object, **options: object) -> object:
        def fail(*arguments: object) -> None:
            raise RuntimeError("no compiler was found\nand a long story")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    file = tmp_path / "numbers.json"
    code, out, err = run(capsys, *SMALL, "--work", "inference", "--against", "compile", "--json", file)
    assert (code, err) == (0, "")
    row = json.loads(file.read_text())["results"][1]
    assert row["side"] == "compile"
    assert row["problem"] == "torch.compile failed (RuntimeError: no compiler was found)"
    assert row["problem"] in out


# Sides and turns


def test_who_goes_first_changes_every_round() -> None:
    turns: list[str] = []

    def side(name: str, variant: str) -> Side:
        running = Running(lambda: turns.append(name + variant), lambda step, times: float(step() or times))
        return Side(name, variant, lambda task: running)

    measured = measure.compare(Task(TINY, 1), [side("a", "1"), side("b", ""), side("a", "2")], 2, 5)
    assert turns == ["a1", "b", "a2", "a1", "b", "a2", "a2", "b", "a1"]
    assert measured == Measured({"a 1": [5.0, 5.0], "b": [5.0, 5.0], "a 2": [5.0, 5.0]})


def test_only_an_explained_failure_is_left_out() -> None:
    def fail(task: Task) -> Running:
        raise RuntimeError("too large")

    task, explained = Task(TINY, 1), Side("peer", "", fail, explain=str)
    assert measure.compare(task, [explained], 1, 1) == Measured({}, {"peer": "too large"})
    with pytest.raises(RuntimeError, match="too large"):
        measure.compare(task, [Side("peer", "", fail)], 1, 1)


def test_of_several_variants_the_fastest_counts() -> None:
    seconds = {"ttfs_cupy": [2.0, 4.0, 3.0], "ann contiguous": [9.0, 1.0, 8.0], "ann channels_last": [6.0, 7.0, 5.0]}
    measured = Measured(seconds, {"eager": "PyTorch ran out of memory"})
    names = ["ttfs_cupy", "eager", "ann"]
    rows = results.rows(Task(TINY, 10), names, measured, dict.fromkeys(names, 3 * 10**8), peak=4.0)
    assert [(row.side, row.variant, row.ratio) for row in rows] == [
        ("ttfs_cupy", "", 1.0),
        ("eager", "", None),
        ("ann", "channels_last", 2.0),
    ]
    assert (rows[1].problem, rows[2].variants) == (
        "PyTorch ran out of memory",
        {"contiguous": 8000.0, "channels_last": 6000.0},
    )
    assert (rows[0].gflops, rows[0].share_of_peak, rows[0].images_per_second) == (1.0, 0.25, 10 / 3)


@pytest.mark.parametrize(("psp_slope", "names"), [(1.0, ["eager", "ann"]), (0.0, ["ann"]), (0.5, ["ann"])])
def test_the_default_peers_compute_with_the_slope(psp_slope: float, names: list[str]) -> None:
    assert sides.peers(None, psp_slope) == names


@pytest.mark.parametrize("name", WORKLOADS)
def test_the_workloads_are_the_bundled_models(name: str) -> None:
    assert models.read(list(WORKLOADS[name].spec)).layers == models.read(name).layers


@pytest.mark.parametrize("psp_slope", [1.0, 0.0])
def test_work_is_counted_as_in_the_summary(psp_slope: float) -> None:
    net = models.build("vgg11", device=DEVICE, psp_slope=psp_slope)
    (total,) = [line for line in net.summary().splitlines() if line.startswith("total")]
    *_, forward, _, training, _ = total.replace(",", "").split()
    task = Task(WORKLOADS["vgg11"], 1, psp_slope=psp_slope)
    counted = [work.flops(replace(task, work=kind), masked=psp_slope != 0) for kind in ("inference", "step")]
    assert counted == pytest.approx([2e6 * float(forward), 2e6 * float(training)], abs=2e4)


def test_the_ann_is_our_network_at_slope_0() -> None:
    task = Task(TINY, 6, psp_slope=0.0)
    ours = Ours(task, get_device(DEVICE)[0])
    ann = Ann(TINY.spec, TINY.weights())
    images, labels = TINY.batch(task.batch_size)
    potentials = ann(torch.from_numpy(images))
    mine = ours.net.device.to_host(ours.net.forward(ours.encoded))
    np.testing.assert_allclose(mine, potentials.detach().numpy(), rtol=1e-4, atol=1e-5)

    loss = torch.nn.functional.cross_entropy(potentials, torch.from_numpy(labels))
    loss.backward()
    mine_loss, gradients = ours.net.loss_and_gradients(ours.encoded, labels)
    assert mine_loss == pytest.approx(loss.item(), rel=1e-5)
    for gradient, parameter in zip(gradients.values(), ann.parameters(), strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-3, atol=1e-5)


@pytest.fixture
def switches() -> Iterator[None]:
    """PyTorch's, as they were in the end."""
    owners = [torch.backends.cuda.matmul, torch.backends.cudnn]
    allowed, benchmark = [owner.allow_tf32 for owner in owners], torch.backends.cudnn.benchmark
    yield
    for owner, value in zip(owners, allowed, strict=True):
        owner.allow_tf32 = value
    torch.backends.cudnn.benchmark = benchmark


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("precision", ["float32", "split", "tf32"])
def test_tf32_is_as_pytorch_has_it_unless_the_engine_has_none(
    precision: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = own, not own
    kept = precision != "float32"
    settings = {"cuda.matmul.allow_tf32": kept and not own, "cudnn.allow_tf32": kept and own, "cudnn.benchmark": True}
    assert pytorch.set_up("cuda:0", None, precision) == settings
    # the peak is of float32 all the same
    pytorch.multiplication(8, "cpu")()
    assert torch.backends.cuda.matmul.allow_tf32 == settings["cuda.matmul.allow_tf32"]
