"""Which device a rank computes on, and in how many threads."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.ranks import OfThreads, in_ranks

import ttfs_cupy.device
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks import devices
from ttfs_cupy.ranks.devices import device_of_rank, get_device_of_rank
from ttfs_cupy.ranks.group import ALONE
from ttfs_cupy.ranks.place import Place

NO_GPU = "this machine has no NVIDIA driver (libcuda.so.1)"


class Machine:
    """What a rank finds: GPUs, and cores."""

    def __init__(self, gpus: int, cores: set[int] | None = None):
        self.gpus, self.cores = gpus, cores or {0, 1, 2, 3}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[int, Machine]:
    """By rank; each has what rank 0 has unless the test says otherwise."""
    machines: dict[int, Machine] = {0: Machine(0)}
    real = devices._offer

    def offer(group: Any, name: str) -> Any:
        machine = machines.get(group.rank, machines[0])
        told = real(group, name)
        gpus = 0 if name == "cpu" else machine.gpus
        trouble = None if machine.gpus or name == "cpu" else NO_GPU
        return SimpleNamespace(**{**vars(told), "gpus": gpus, "trouble": trouble, "cores": sorted(machine.cores)})

    monkeypatch.setattr(devices, "_offer", offer)
    monkeypatch.setattr(devices, "available_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return machines


def chosen(size: int, name: str = "auto", threads: int | None = None) -> list[tuple[str, int | None]]:
    return in_ranks(size, lambda group: device_of_rank(group, name, threads))


def refused(size: int, match: str, name: str = "auto") -> None:
    """At all ranks, in the same words."""
    said: list[str] = []

    def body(group: OfThreads) -> None:
        with pytest.raises(UserError, match=match) as error:
            device_of_rank(group, name, None)
        said.append(str(error.value))

    in_ranks(size, body)
    assert len(said) == size and len(set(said)) == 1


def test_one_process_has_what_the_config_says() -> None:
    for name, threads in (("auto", None), ("cuda:1", 3), ("cpu", 2)):
        assert device_of_rank(ALONE, name, threads) == (name, threads)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_each(name: str, found: dict[int, Machine]) -> None:
    found[0] = Machine(4)
    assert chosen(3, name) == [("cuda:0", None), ("cuda:1", None), ("cuda:2", None)]


def test_a_process_that_sees_one_gpu_has_that(found: dict[int, Machine]) -> None:
    found[0] = Machine(1)
    assert chosen(3, "cuda") == [("cuda:0", None)] * 3


def test_the_local_rank_counts(found: dict[int, Machine]) -> None:
    found[0] = Machine(2)

    def body(group: OfThreads) -> tuple[str, int | None]:
        group.place = Place(group.rank, 4, group.rank % 2, 2)
        return device_of_rank(group)

    assert [name for name, _ in in_ranks(4, body)] == ["cuda:0", "cuda:1"] * 2


def test_more_ranks_than_gpus(found: dict[int, Machine]) -> None:
    found[0] = Machine(2)
    refused(3, r"^rank 0 \(node0, process 100\): this machine has 3 ranks and 2 GPUs: start one process a GPU$")


def test_one_gpu_by_its_number_for_several(found: dict[int, Machine]) -> None:
    found[0] = Machine(2)
    refused(2, r"device 'cuda:1' is one GPU, for 2 ranks of this machine: write cuda$", "cuda:1")


def test_one_gpu_by_its_number_for_each_machine(found: dict[int, Machine]) -> None:
    found[0] = Machine(2)

    def body(group: OfThreads) -> tuple[str, int | None]:
        group.place = Place(group.rank, 2, 0, 1)
        return device_of_rank(group, "cuda:1")

    assert in_ranks(2, body) == [("cuda:1", None)] * 2


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_machine_without_gpus_among_others(name: str, found: dict[int, Machine]) -> None:
    found[0], found[1] = Machine(2), Machine(0)
    refused(
        2,
        rf"^rank 1 \(node1, process 101\): device '{name}' cannot be used here: {re.escape(NO_GPU)}; all ranks",
        name,
    )


def test_no_gpu_where_one_is_asked_for(found: dict[int, Machine]) -> None:
    refused(2, r"^rank 0 \(node0, process 100\): device 'cuda' cannot be used here: this machine has no NVIDIA", "cuda")


@pytest.mark.parametrize("name", ["auto", "cpu"])
@pytest.mark.parametrize(("ranks", "threads"), [(1, None), (2, 2), (3, 1), (5, 1)])
def test_ranks_share_the_cores(ranks: int, threads: int | None, name: str, found: dict[int, Machine]) -> None:
    if ranks == 1:
        assert chosen(ranks, name) == [(name, None)]
    else:
        assert chosen(ranks, name) == [(name, threads)] * ranks


def test_ranks_that_are_bound_to_cores_of_their_own_share_nothing(found: dict[int, Machine]) -> None:
    found[1] = Machine(0, {4, 5, 6, 7})
    assert chosen(2, "cpu") == [("cpu", 4)] * 2


def test_threads_that_are_asked_for(found: dict[int, Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(2, "cpu", 3) == [("cpu", 3)] * 2
    asks_for_none = chosen(2, "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert chosen(2, "cpu") == [("cpu", None)] * 2
    # which is ignored where there is one process, too
    monkeypatch.setenv("OMP_NUM_THREADS", "abc")
    assert chosen(2, "cpu") == asks_for_none


def test_what_this_machine_has() -> None:
    offer = devices._offer(ALONE, "cpu")
    assert (offer.gpus, offer.trouble, offer.local_rank, offer.local_size) == (0, None, 0, 1)
    assert offer.cores


@pytest.mark.parametrize(
    ("name", "threads", "why"),
    [
        ("cpu", None, "its share of the cores"),
        ("cpu", 1, "asked for"),
        ("auto", None, f"{NO_GPU}; its share of the cores"),
    ],
)
@pytest.mark.usefixtures("found")
def test_why_it_has_so_many_threads(name: str, threads: int | None, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ttfs_cupy.device, "cuda_trouble", lambda: NO_GPU)
    assert in_ranks(2, lambda group: get_device_of_rank(group, name, threads)[1]) == [why] * 2


def test_one_process_has_all_cores() -> None:
    assert get_device_of_rank(ALONE, "cpu")[1] == "asked for"
