"""The stage of a deep check that looks at NCCL: on GPUs made of NumPy, and with ranks that are made up."""

import json
import sys
from typing import Any

import pytest
from cuda_stand_in import Machine, device_of
from helpers.kept_notes import Kept
from helpers.ranks import OfThreads, in_ranks

from ttfs_cupy.check.deep.stages import graphs, ranks
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CudaDevice
from ttfs_cupy.device.streams import Streams

VERSION = 23007


def test_a_card_by_itself(kept: Kept) -> None:
    machine = Machine()
    ranks.one(kept, device_of(machine), graphs.TINY, 4)
    ((figure,), (finding,)) = kept.take()
    expected = {"ranks": 1, "nccl": VERSION, "graphs": 1, "same_bits": True, "deviation": 0.0, "gigabytes": None}
    assert figure == {"record": "Exchange", **expected}
    assert not finding.attention
    assert finding.text == (
        f"NCCL {VERSION} takes the calls of a step that is recorded as one graph, with the bits of a step without "
        "them; of one rank it adds nothing up"
    )
    assert machine.violations == []


@pytest.mark.usefixtures("lossy_graphs")
def test_a_graph_that_computes_something_else(kept: Kept) -> None:
    ranks.one(kept, device_of(Machine()), graphs.TINY, 4)
    (text,) = kept.marked()
    assert text.startswith("a step that NCCL is called in has other bits than one without")


def test_calls_that_are_not_recorded(kept: Kept) -> None:
    ranks.one(kept, device_of(Machine(refuses_capture=True)), graphs.TINY, 4)
    assert kept.marked() == ["a step that NCCL is called in is 0 graphs instead of 1: the log says why"]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_find_the_same(size: int) -> None:
    def body(group: OfThreads) -> ranks.Exchange:
        machine = Machine()
        found = ranks.of_rank(group, device_of(machine), graphs.TINY, 7, values=100)
        assert machine.violations == []
        return found

    for found in in_ranks(size, body):
        assert (found.ranks, found.nccl, found.graphs, found.same_bits) == (size, VERSION, 1, True)
        assert found.deviation < ranks.CLOSE and found.gigabytes is not None


def test_a_missing_join_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "join", lambda self: None)
    with pytest.raises(AssertionError, match="does not wait for allReduce"):
        in_ranks(2, lambda group: ranks.of_rank(group, device_of(Machine()), graphs.TINY, 4, values=100))


GOOD = {"ranks": 2, "nccl": VERSION, "graphs": 1, "same_bits": True, "deviation": 1e-7, "gigabytes": 300.0}


@pytest.mark.parametrize(
    ("change", "marked"), [({}, False), ({"same_bits": False}, True), ({"deviation": 0.1}, True), ({"graphs": 0}, True)]
)
def test_what_several_ranks_found(
    change: dict[str, Any], marked: bool, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"print({json.dumps(json.dumps(GOOD | change))})"
    real = ranks.tools.run
    monkeypatch.setattr(ranks.tools, "run", lambda command, seconds: real([sys.executable, "-c", code], seconds))
    ranks.several(kept, 2)
    ((figure,), (finding,)) = kept.take()
    assert figure["ranks"] == 2 and finding.attention is marked
    assert finding.text.startswith("2 GPUs: weights deviate by ")


def test_a_rank_that_fails(kept: Kept) -> None:
    """Here there is no GPU: the real command says so."""
    ranks.several(kept, 2)
    (text,) = kept.marked()
    assert text.startswith("of 2 ranks, rank ") and "ended with exit code" in text


def test_what_is_not_looked_at(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks.run(kept, "cpu")
    device: CudaDevice = device_of(Machine())

    def missing() -> None:
        raise UserError("NCCL is not installed")

    monkeypatch.setattr(device, "nccl", missing)
    monkeypatch.setattr(ranks, "get_device", lambda name: (device, ""))
    ranks.run(kept, "cuda")
    assert [finding.text for finding in kept.take()[1]] == [
        "cpu has no NCCL: the exchange between GPUs is not looked at",
        "the exchange between GPUs is not looked at: NCCL is not installed",
    ]
