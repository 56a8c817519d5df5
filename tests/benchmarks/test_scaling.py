"""ttfs bench --scaling: what it prints and writes on one rank and on two, and its sentence for each mistake."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.ranks import OfThreads, in_ranks
from helpers.several_ranks import spoken, trained

from ttfs_cupy import bench
from ttfs_cupy.benchmarks.scaling import ranks, results
from ttfs_cupy.benchmarks.scaling.exchanges import AfterBackward, DelayedWire
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task, Workload
from ttfs_cupy.device import get_device
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.models import build
from ttfs_cupy.ranks import all_reduce
from ttfs_cupy.ranks.all_reduce import all_reduce_of
from ttfs_cupy.ranks.group import ALONE
from ttfs_cupy.ranks.wires.nccl import NcclWire

SCALING = ["--scaling", "--networks", "vgg7", "--batch-size", "3", "--rounds", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What rank 0 prints, and the file."""
    folder = tmp_path_factory.mktemp("scaling")
    file = folder / "numbers.json"
    outcome = spoken(trained(2, folder, *SCALING, "--wire-delay", "1", "--json", file, command=bench.main))
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out, json.loads(file.read_text())


def test_rank_0_prints_a_table(two_ranks: tuple[str, dict[str, Any]]) -> None:
    text, _ = two_ranks
    assert "2 ranks: 2 x cpu on " in text
    assert "; gradients go by sockets, each call of which takes 1 ms longer\n" in text
    heads, rule, *rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 1 and len({len(line) for line in (heads, rule, *rows)}) == 1
    assert [cell.strip() for cell in heads.strip("|").split("|")] == list(results.HEADS)
    assert "vgg7: gradients of 18.2 MB a rank and step, in buckets of " in text
    assert "; in a ring a rank sends 18.2 MB\n" in text


def test_the_json_has_everything(two_ranks: tuple[str, dict[str, Any]]) -> None:
    _, numbers = two_ranks
    assert (numbers["wire"], numbers["wire_delay"], numbers["rounds"], len(numbers["devices"])) == ("sockets", 1, 1, 2)
    assert numbers["machine"]["device"] == "cpu"
    (row,) = numbers["results"]
    # rank 0 has the image more
    assert (row["network"], row["images"], row["ranks"], row["of_a_rank"]) == ("vgg7", 3, 2, 2)
    seconds, waits = row["found"]["seconds"], row["found"]["waits"]
    assert set(seconds) == set(waits) == {ranks.ALONE, ranks.OVERLAPPED, ranks.AFTER, ranks.EXCHANGE, ranks.WHOLE}
    assert all(len(of_side) == 1 and of_side[0] > 0 for of_side in seconds.values())
    assert {side for side, of_side in waits.items() if of_side != [0]} == {ranks.OVERLAPPED, ranks.AFTER}
    assert row["bytes"] == sum(row["buckets"]) == 4 * 4_544_064
    assert row["images_per_second"] == pytest.approx(3e3 / row["milliseconds"][ranks.OVERLAPPED])
    # a millisecond for each bucket at least
    assert row["milliseconds"][ranks.EXCHANGE] >= len(row["buckets"])


def test_one_rank_exchanges_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(SCALING) == 0
    captured = capsys.readouterr()
    assert "one rank: 1 x cpu on " in captured.out and "gradients" not in captured.out
    (row,) = [line for line in captured.out.splitlines() if line.startswith("| vgg7 ")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:3] == ["vgg7", "3", "3"] and cells[4:7] == ["-"] * 3 and cells[8:] == ["-"] * 6


SECONDS = {
    ranks.ALONE: [1.0, 0.8, 0.9],
    ranks.OVERLAPPED: [1.0, 1.2, 5.0],
    ranks.AFTER: [1.8, 1.5, 1.7],
    ranks.EXCHANGE: [0.5, 0.7, 0.6],
    ranks.WHOLE: [3.0, 2.0, 3.0],
}
TASK = Task(WORKLOADS["vgg7"], 10)


def test_a_row_by_hand() -> None:
    waits = {side: [0.0] * 3 for side in SECONDS} | {ranks.OVERLAPPED: [0.1, 0.2, 0.1], ranks.AFTER: [0.9, 0.8, 0.8]}
    row = results.row(TASK, 4, ranks.Lockstep(SECONDS, waits), [800, 200], "")
    assert row.of_a_rank == 3 and row.images_per_second == pytest.approx(10 / 1.2)
    assert row.efficiency == pytest.approx(0.9 / 1.2) and row.not_overlapped == pytest.approx(0.3 / 1.2)
    assert row.hidden == pytest.approx(7 / 8) and row.times_one == pytest.approx(3 / 1.2)
    # both: other things than waits make a step longer, too
    assert row.hidden_by_steps == pytest.approx(5 / 8)
    assert [cell for cell in results.cells(row) if "%" in cell][2:] == ["87.5%", "62.5%"]
    assert (row.bytes, row.ring_bytes) == (1000, 1500)


def test_without_counted_waits_what_is_hidden_is_told_by_the_steps() -> None:
    """As on GPUs. After backward the exchange costs 0.8, beside it 0.3."""
    seconds = {side: of_side for side, of_side in SECONDS.items() if side != ranks.WHOLE}
    row = results.row(TASK, 4, ranks.Lockstep(seconds, {side: [0.0] * 3 for side in seconds}), [800], "too large")
    assert row.hidden == row.hidden_by_steps == pytest.approx(5 / 8) and row.times_one is None
    free = seconds | {ranks.AFTER: [0.7, 0.9, 0.8]}
    assert results.row(TASK, 4, ranks.Lockstep(free, {side: [0.0] * 3 for side in free}), [800], "").hidden is None


class Doubling:
    """A wire of two ranks that have the same, which writes down its calls."""

    name = "doubling"

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def all_reduce(self, array: np.ndarray) -> None:
        self.sizes.append(array.size)
        array *= 2

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("delayed", [False, True])
def test_a_hindered_exchange_gives_the_same_gradients(*, delayed: bool) -> None:
    device, _ = get_device("cpu")
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    weights = []
    for hindered in (False, True):
        net = build([600, 600], (1, 8, 8), 10, device=device)
        net.parameters.draw(0)
        wire = Doubling()
        slow = DelayedWire(wire, 0.001) if hindered and delayed else wire
        layout = net.parameters.gradients, net.parameters.starts.values(), net.parameters.decayed
        with all_reduce_of(device, slow, *layout) as exchange:
            used = AfterBackward(exchange) if hindered and not delayed else exchange
            step = TrainingStep(net, Adam(device, net.parameters, 0.01), 4, all_reduce=used)
            step.send(device.to_host(net.encode(images)), np.arange(4, dtype=np.int32))
            step.run()
        assert wire.sizes == [bucket.stop - bucket.first for bucket in exchange.buckets] and len(wire.sizes) > 1
        weights.append(device.to_host(net.parameters.values).copy())
    assert (weights[0] == weights[1]).all()


def test_two_ranks_on_gpus_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """On GPUs made of NumPy, and NCCL between them: recorded, replayed, nothing raced for."""
    monkeypatch.setattr(OfThreads, "broadcast", lambda group, value=None: group.gather(value)[0])
    monkeypatch.setattr(all_reduce, "SMALLEST_BYTES", 128)
    task = Task(Workload("tiny", (5, "P", 7), (2, 8, 6)), 3)
    rounds, steps = 2, 2

    def body(group: OfThreads) -> tuple[ranks.Lockstep, int, int]:
        machine = Machine()
        device = device_of(machine)
        wire = NcclWire(group, device)
        with ranks.Rank(task, group, device, wire) as rank:
            sides = rank.turns()
            whole, _ = ranks.whole_batch(task, group, device)
            assert whole is not None
            sides[ranks.WHOLE] = whole
            before = len(machine.log)
            found = ranks.in_lockstep(sides, group, device, rounds, steps)
            graphs, buckets = machine.kinds(before).count("graph"), len(rank.buckets)
        wire.close()
        assert machine.violations == []
        return found, graphs, buckets

    (found, graphs, buckets), (same, graphs_of_1, _) = in_ranks(2, body)
    assert found == same and buckets == 3
    assert set(found.seconds) == {ranks.ALONE, ranks.OVERLAPPED, ranks.AFTER, ranks.EXCHANGE, ranks.WHOLE}
    assert all(len(seconds) == rounds and min(seconds) > 0 for seconds in found.seconds.values())
    # the host does not see what a GPU waits for
    assert all(set(waits) == {0.0} for waits in found.waits.values())
    # each step but the first is one graph; the whole batch is rank 0's
    assert (graphs, graphs_of_1) == (4 * (2 + rounds * steps), 3 * (2 + rounds * steps))


def test_where_one_rank_cannot_compute_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise MemoryError("the memory does not suffice")

    monkeypatch.setattr(ranks, "Ours", too_large)
    turn, problem = ranks.whole_batch(Task(WORKLOADS["vgg7"], 2), ALONE, get_device("cpu")[0])
    assert turn is None and problem == "the memory does not suffice"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--wire-delay", "1"], "use it with --scaling"),
        ([*SCALING, "--against", "eager"], "leave out --against"),
        ([*SCALING, "--memory"], "leave out --memory"),
        ([*SCALING, "--work", "inference"], "leave out --work"),
        ([*SCALING, "--wire-delay", "-1"], "milliseconds from 0 to 60000, not '-1'"),
        ([*SCALING, "--json", "/nowhere/at/all.json"], "/nowhere"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = bench.main(arguments)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and said in captured.err


def test_a_batch_has_an_image_for_every_rank(tmp_path: Path) -> None:
    too_small = ("--scaling", "--networks", "vgg7", "--batch-size", "1", "--device", "cpu")
    outcome = spoken(trained(2, tmp_path, *too_small, command=bench.main))
    assert (outcome.code, outcome.out) == (2, "")
    assert "a global batch of 1 images is too small for 2 ranks" in outcome.err and outcome.err.count("\n") == 1
