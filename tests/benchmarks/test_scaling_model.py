"""python -m ttfs_cupy.benchmarks.scaling_model: hand computations, and what holds of every network and step."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.environments import REPOSITORY
from hypothesis import assume, given
from hypothesis import strategies as st

from ttfs_cupy.benchmarks.gpu_model.ours import layers_of
from ttfs_cupy.benchmarks.scaling_model import __main__ as scaling_model
from ttfs_cupy.benchmarks.scaling_model import prediction, tables
from ttfs_cupy.benchmarks.scaling_model import share as of_shares
from ttfs_cupy.benchmarks.scaling_model.assumptions import NETWORKS, NVLINKS, Assumptions
from ttfs_cupy.benchmarks.scaling_model.exchange import Fabric, all_reduce, half_of_it, overlapped
from ttfs_cupy.benchmarks.scaling_model.prediction import Run, fastest, fewest_images, other_ways, predict, speedup
from ttfs_cupy.benchmarks.scaling_model.share import Share, gradients_of, share_of
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.models import build

GIVEN = Assumptions()
ONE_ADAPTER, EIGHT_ADAPTERS = (Fabric(NVLINKS["H100"], NETWORKS[name], GIVEN) for name in ("1x400", "8x400"))
MB = 1 << 20

times = st.floats(0, 1e4)
ranks = st.sampled_from([2, 3, 8, 9, 64, 1000, 1024])


# An exchange


def test_a_ring_within_a_machine_by_hand() -> None:
    # 14 steps of an eighth each, by LL128: 14 us, and 1.9 a step, at 92 % of 18 links of 20.6 GB/s
    expected = 14 + 14 * 1.9 + 14 / 8 * 16e6 / (18 * 20.6 * 0.92 * 1e3)
    found = all_reduce(16_000_000, 8, ONE_ADAPTER)
    assert (found.how, found.time) == ("ring LL128", pytest.approx(expected))


def test_a_tree_between_machines_by_hand() -> None:
    # of a few bytes: 14 hops along the GPUs of a machine, 6 of the tree of 8 machines
    found = all_reduce(4, 64, ONE_ADAPTER)
    assert (found.how, found.time) == ("tree LL", pytest.approx(6.8 + 14 * 0.6 + 6 * 5.0, rel=1e-3))


def test_one_adapter_is_where_a_large_ring_is_narrow() -> None:
    # 126 steps of a 64th each, 14 of them over the network: 50 GB/s, of which 90 % arrive; x 1.4, the plateau
    size = 10**9
    found = all_reduce(size, 64, ONE_ADAPTER)
    expected = 1.4 * (8.4 + 112 * 3.4 + 14 * 14) + 126 / 64 * size / 45e3
    assert (found.how, found.time) == ("ring Simple", pytest.approx(expected))


def test_a_large_tree_by_hand() -> None:
    # 9.6 MB, 2^17 times 64 bytes: by LL128 92 % of the ring's bandwidth, 15 of 16 bytes, and 0.9 for the size
    found = all_reduce(9_600_000, 1024, EIGHT_ADAPTERS)
    expected = 14 + 2 * (7 * 1.25 + 7 * 8.5) + 2 * 9.6e6 / (360e3 * 0.92 * 15 / 16 * 0.9)
    assert (found.how, found.time) == ("tree LL128", pytest.approx(expected))


def test_a_reduce_scatter_by_hand() -> None:
    # one round, without the plateau: 1023 steps of a 1024th, 127 over the network; LL sends 20.4 GB/s at most
    by_ll = 6.6 + 896 * 1.0 + 127 * 2.7 + 1023 / 1024 * 18e6 / 20.4e3
    assert half_of_it(18_000_000, 1024, EIGHT_ADAPTERS) == pytest.approx(by_ll)
    # CPUs of AMD: a hop takes 2 microseconds at least
    amd = Fabric(NVLINKS["A100"], NETWORKS["8x400"], GIVEN)
    assert half_of_it(1000, 1024, amd) == pytest.approx(6.6 + 896 * 2.0 + 127 * 2.7, rel=1e-3)


def test_one_gpu_exchanges_nothing() -> None:
    assert all_reduce(MB, 1, ONE_ADAPTER).time == half_of_it(MB, 1, ONE_ADAPTER) == 0


@given(st.integers(1, 1 << 30), ranks, st.floats(1, 1e3), st.floats(1, 10))
def test_more_bandwidth_is_never_slower(size: int, ranks: int, bandwidth: float, factor: float) -> None:
    def time(of_an_adapter: float, of_a_link: float) -> float:
        network = replace(NETWORKS["1x400"], of_an_adapter=of_an_adapter)
        return all_reduce(size, ranks, Fabric(replace(NVLINKS["H100"], of_a_link=of_a_link), network, GIVEN)).time

    slow = time(bandwidth, bandwidth / 18)
    assert time(factor * bandwidth, bandwidth / 18) <= slow and time(bandwidth, factor * bandwidth / 18) <= slow


@given(st.integers(1, 1 << 28), st.integers(1, 1 << 28), ranks)
def test_two_exchanges_are_never_faster_than_one(one: int, other: int, ranks: int) -> None:
    together = all_reduce(one + other, ranks, EIGHT_ADAPTERS).time
    assert together <= all_reduce(one, ranks, EIGHT_ADAPTERS).time + all_reduce(other, ranks, EIGHT_ADAPTERS).time


@given(st.integers(1, 1 << 28), ranks)
def test_what_goes_around_a_ring_once_takes_at_least_half_of_what_goes_around_twice(size: int, ranks: int) -> None:
    assume(ranks <= 8)  # between machines a ring's second round has a plateau
    half, whole = half_of_it(size, ranks, EIGHT_ADAPTERS), all_reduce(size, ranks, EIGHT_ADAPTERS).time
    assert half >= 0.5 * whole


# What backward hides


def test_an_overlap_by_hand() -> None:
    # the first from 4 to 7, the second from the end of backward, 10, to 15
    line = overlapped(10, [4, 10], [3, 5], 2, slower=0)
    assert (line.time, line.shown, line.hidden) == (10 + 15 + 2, 5, 3)
    # a second bucket that is there before the first has gone waits for it
    assert overlapped(0, [1, 2], [5, 1], 0, slower=0).time == 7


def test_computing_is_slower_beside_an_exchange_by_hand() -> None:
    # from 4 to 7 half as much is computed, so backward ends at 11.5
    assert overlapped(10, [4, 10], [3, 5], 2, slower=0.5).time == 10 + 11.5 + 5 + 2
    # a first bucket's exchange outlasts backward: 1, then 1 of computing in 2; then both are sent
    assert overlapped(0, [1, 2], [5, 1], 0, slower=0.5).time == 7


@given(times, st.lists(st.tuples(times, times), min_size=1, max_size=6), times, st.floats(0, 0.9))
def test_what_is_hidden_and_what_is_shown_are_the_exchange(
    before: float, buckets: list[tuple[float, float]], after: float, slower: float
) -> None:
    ready, exchanges = sorted(due for due, _ in buckets), [exchange for _, exchange in buckets]
    line = overlapped(before, ready, exchanges, after, slower)
    assert line.hidden + line.shown == pytest.approx(sum(exchanges), abs=1e-6)
    assert line.alone == pytest.approx(before + ready[-1] + after)
    # the last bucket has nothing left to hide behind
    assert exchanges[-1] - 1e-6 <= line.shown <= line.exchange + 1e-6
    longer = overlapped(before, ready, [2 * exchange for exchange in exchanges], after, slower)
    assert longer.time >= line.time - 1e-6


# The gradients


@pytest.mark.parametrize("network", list(WORKLOADS))
def test_the_gradients_are_those_of_the_network(network: str) -> None:
    workload, found = WORKLOADS[network], gradients_of(WORKLOADS[network])
    net = build(list(workload.spec), workload.input_shape, 10, device="cpu")
    assert found.size == net.parameters.size == net.parameters.decayed
    buckets = found.buckets
    assert sum(bucket.bytes for bucket in buckets) == found.bytes
    assert buckets[-1].first == 0 and all(below.stop == above.first for above, below in pairwise(buckets))
    backward = [float(number + 1) for number in range(len(found.starts))]
    ready = found.ready(backward, buckets)
    assert ready == sorted(ready) and ready[-1] == sum(backward)


def test_a_cut_in_buckets() -> None:
    found = gradients_of(WORKLOADS["vgg7"])
    assert found.cut(found.starts)[0].bytes == 4 * 512 * 9 * 10
    assert [bucket.bytes for bucket in found.cut([0])] == [found.bytes]
    with_two = found.cut([0, found.starts[-1]])
    assert found.ready([1.0] * len(found.starts), with_two) == [1, len(found.starts)]


# A step


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that takes 300 us and 10 an image, a third of it forward."""

    def share(network: str, images: int, gpu: str) -> Share:
        layers, time = len(gradients_of(WORKLOADS[network]).starts), 300 + 10 * images
        return Share(time / 3, (time / 2 / layers,) * layers, time / 6)

    monkeypatch.setattr(prediction, "share_of", share)


def run_of(between: str = "8x400", network: str = "vgg7") -> Run:
    return Run(network, "H100", between, GIVEN)


@pytest.mark.usefixtures("shares")
def test_a_step_on_one_gpu_is_its_own() -> None:
    found = predict(run_of(), 1, 70)
    assert found.timeline.time == pytest.approx(1000) and found.timeline.exchange == 0
    assert found.efficiency == pytest.approx(1) and found.after_backward == pytest.approx(1000)
    assert speedup(run_of(), found) == pytest.approx(1)


@pytest.mark.usefixtures("shares")
def test_the_gpu_with_the_most_images_decides() -> None:
    even, uneven = predict(run_of(), 8, 64), predict(run_of(), 8, 57)
    assert even.of_a_gpu == uneven.of_a_gpu == 8
    assert even.timeline == uneven.timeline and uneven.images_per_second < even.images_per_second


@pytest.mark.usefixtures("shares")
def test_where_it_stops_paying() -> None:
    run = run_of("1x400")
    for efficiency in (0.5, 0.9):
        images = fewest_images(run, 64, efficiency)
        assert images is not None and images > 1
        assert predict(run, 64, 64 * images).efficiency >= efficiency
        assert predict(run, 64, 32 * images).efficiency < efficiency
    assert fewest_images(run, 1, 0.9) == 1 and fewest_images(run, 64, 1.0) is None
    most = fastest(run, 256)
    for ranks in (most.ranks // 2, 2 * most.ranks):
        assert predict(run, ranks, 256).images_per_second <= most.images_per_second
    assert fastest(run, 1).ranks == 1


@pytest.mark.usefixtures("shares")
@pytest.mark.parametrize("ranks", [8, 64])
def test_other_ways(ranks: int) -> None:
    run = run_of()
    as_it_is, after, best, sharded, halves = other_ways(run, ranks, 32 * ranks)
    assert as_it_is.time == predict(run, ranks, 32 * ranks).timeline.time
    assert after.time == pytest.approx(620 + all_reduce(run.gradients.bytes, ranks, run.fabric).time)
    assert best.time <= as_it_is.time
    moments = 2 * run.gradients.bytes
    assert sharded.memory == moments - moments // ranks and halves.memory == -run.gradients.bytes // 2
    assert min(sharded.time, halves.time) > 620 - 620 / 6


def test_a_share_is_the_step_of_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a layer's parts take is told apart by powers of two. That a real step has such parts: the page's tables."""
    layers = [layer.name for layer in layers_of(WORKLOADS["vgg7"])]
    kinds = [("forward", name) for name in layers] + [("loss", "readout"), ("optimiser", "")]
    kinds += [(which, name) for name in layers for which in ("data_gradient", "weight_gradient")]
    parts = [SimpleNamespace(which=which, layer=name, time=2.0**place) for place, (which, name) in enumerate(kinds)]
    step = SimpleNamespace(parts=parts, time=sum(part.time for part in parts))
    monkeypatch.setattr(of_shares, "trace", lambda *_: SimpleNamespace(step=lambda given: step))
    share = share_of.__wrapped__("vgg7", 256, "A100")
    of_layer = {
        name: sum(part.time for part in parts if part.layer == name and part.which.endswith("gradient"))
        for name in layers
    }
    assert share.backward == tuple(of_layer[name] for name in reversed(layers))
    assert share.after == 2.0 ** (len(layers) + 1) and share.before == 2.0 ** (len(layers) + 1) - 1
    assert share.time == step.time


# The page


PAGE = (REPOSITORY / "docs/scaling.md").read_text()


def rows_of(page: str) -> Iterator[dict[str, str]]:
    """Of all of the page's tables, by their heads, as far as they are of the model."""
    for lines in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        heads, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines.splitlines()]
        yield from (dict(zip(heads, row, strict=True)) for row in rows if "between" in heads)


def test_the_page_has_what_the_model_says_of_exchanges() -> None:
    for network in ("vgg7", "vgg11"):
        assert f"- {tables.gradients(network, gradients_of(WORKLOADS[network]))}\n" in PAGE
    of_model = [row for row in rows_of(PAGE) if row.get("exchange, ms")]
    assert len(of_model) >= 10
    for row in of_model:
        run = Run("vgg11", "H100", {"NVLink": "8x400"}.get(row["between"], row["between"]), GIVEN)
        ranks = int(row["GPUs"].replace(",", ""))
        exchange = sum(all_reduce(bucket.bytes, ranks, run.fabric).time for bucket in run.gradients.buckets)
        assert row["exchange, ms"] == f"{exchange / 1e3:.2f}", row


def test_the_page_has_the_tables_that_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert scaling_model.main(["--networks", "vgg11", "--images", "32"]) == 0
    printed = list(rows_of(capsys.readouterr().out))
    rows = list(rows_of(PAGE))
    assert len(rows) > 30
    for row in rows:
        assert any(row.items() <= each.items() for each in printed), row


# The command


SMALL = ["--gpu", "A100", "--networks", "vgg7", "--batch-size", "256", "--images", "256"]


@pytest.mark.usefixtures("shares")
def test_the_command_prints_assumptions_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "numbers.json"
    assert scaling_model.main([*SMALL, "--between", "8x400", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert text.count(tables.NOTHING_RAN) == 1
    assert all(line in text for line in GIVEN.lines())
    assert "NCCL, src/graph/topo.h, SM80_NVLINK_BW" in text and "ring LL128:" in text
    numbers: dict[str, Any] = json.loads(file.read_text())
    assert numbers["predicted"] == tables.NOTHING_RAN and sum(numbers["buckets"]["vgg7"]) > 18e6
    # 1,024 GPUs have not an image each
    assert [found["ranks"] for found in numbers["same_batch"]] == [1, 8, 64]
    assert [found["ranks"] for found in numbers["same_images"]] == [1, 8, 64, 1024]
    one, *others = numbers["same_images"]
    assert one["shown"] == 0 and one["efficiency"] == 1
    for found in others:
        line = found["timeline"]
        assert found["hidden"] + found["shown"] == pytest.approx(line["exchange"])
        assert f" {1e6 * found['images'] / line['time']:,.0f} |" in text
    assert {found["between"] for found in others} == {"NVLink", "8x400"}
    assert len(numbers["other_ways"]) == 3 * 5 and len(numbers["fastest"]) == 1
    # a table's lines are as wide as one another
    rows = [line for line in text.splitlines() if "| A100 " in line]
    assert len(rows) == 3 + 4 + 3 + 1 + 15


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--gpu", "T4"), "T4"),
        (("--between", "10G"), "10G"),
        (("--ranks", "0"), "'0'"),
        (("--images", "none"), "'none'"),
        (("--json", "/nowhere/at/all.json"), "/nowhere"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    arguments: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = scaling_model.main(arguments)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and named in captured.err
