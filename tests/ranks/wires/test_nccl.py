"""The wire over NCCL, on GPUs made of NumPy: what it sums, and what it refuses at the start."""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.nccl_ranks import wired
from helpers.ranks import OfThreads, Table, in_ranks

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CudaDevice
from ttfs_cupy.device.libraries import cuda_libraries, nccl_library
from ttfs_cupy.ranks.group import ALONE, LostRankError
from ttfs_cupy.ranks.wires import losses
from ttfs_cupy.ranks.wires.nccl import IN_SWITCHES, NcclWire

OLD = 2804, 20900


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "SECONDS", 0.05)
    monkeypatch.delenv(IN_SWITCHES, raising=False)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_arrays_are_summed_in_place(size: int) -> None:
    def body(group: OfThreads) -> list[float]:
        machine = Machine()
        device, wire = wired(group, machine)
        array = device.to_device(np.full(5, 10.0**group.rank, np.float32))
        wire.all_reduce(array[1:4])
        wire.check()
        values: list[float] = device.to_host(array).tolist()
        wire.close()
        assert machine.violations == []
        return values

    total = sum(10.0**rank for rank in range(size))
    expected = [[10.0**rank, total, total, total, 10.0**rank] for rank in range(size)]
    assert in_ranks(size, body) == expected


def test_what_is_no_array_for_it_is_refused() -> None:
    device = device_of(Machine())
    wire = NcclWire(ALONE, device)
    whole = device.to_device(np.zeros((4, 4), np.float32))
    for array in (np.zeros(3, np.float32), whole.astype(np.float64), whole[:, 1]):
        with pytest.raises(ValueError, match="contiguous float32 arrays on cuda:0"):
            wire.all_reduce(array)


# The start


def refused(size: int, match: str, device: Any) -> None:
    """At all ranks, in the same words. device(rank)"""
    said: list[str] = []

    def body(group: OfThreads) -> None:
        with pytest.raises(UserError, match=match) as error:
            NcclWire(group, device(group.rank))
        said.append(str(error.value))

    in_ranks(size, body)
    assert len(said) == size and len(set(said)) == 1


def test_two_ranks_on_one_gpu() -> None:
    def device(rank: int) -> CudaDevice:
        machine = Machine()
        machine.bus = "0000:17" if rank else "0000:16"
        return device_of(machine)

    refused(
        3,
        r"^rank 1 \(node1, process 101\), rank 2 \(node2, process 102\) have the same GPU \(0000:17:00.0\), which NCCL "
        "cannot use: start one process a GPU, with device: cuda$",
        device,
    )


def test_gpus_of_two_machines_may_have_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    real = OfThreads.members.fget
    assert real is not None

    def members(self: OfThreads) -> Any:
        return [SimpleNamespace(named=one.named, machine=one.host) for one in real(self)]

    monkeypatch.setattr(OfThreads, "members", property(members))

    def body(group: OfThreads) -> None:
        machine = Machine()
        machine.host, machine.bus = f"node{group.rank}", "0000:17"
        wired(group, machine)

    in_ranks(2, body)


def test_another_version() -> None:
    refused(
        2,
        r"^rank 0 has NCCL 2\.30\.7 and rank 1 \(node1, process 101\) has 2\.18\.1: install the same version",
        lambda rank: device_of(Machine(), nccl_version=21801 if rank else 23007),
    )


def test_a_version_as_it_was_numbered_before_2_9() -> None:
    refused(
        2,
        r"^rank 0 has NCCL 2\.8\.4 and rank 1 .* has 2\.9\.0",
        lambda rank: device_of(Machine(), nccl_version=OLD[rank]),
    )


def test_a_rank_without_nccl() -> None:
    def device(rank: int) -> CudaDevice:
        found = device_of(Machine())
        if rank == 1:
            missing = SimpleNamespace(available=False)
            found.nccl = lambda: _raise(nccl_library._trouble(missing, 13000))  # type: ignore[method-assign]
        return found

    refused(2, r"^rank 1 \(node1, process 101\): NCCL, which connects GPUs, is not installed: pip install", device)


def _raise(sentence: str | None) -> Any:
    assert sentence is not None
    raise UserError(sentence)


def test_a_machine_that_nccl_finds_no_network_on() -> None:
    def device(rank: int) -> CudaDevice:
        found = device_of(Machine())
        nccl = found.nccl()

        def no_network() -> bytes:
            raise nccl.NcclError(6)

        nccl.get_unique_id = no_network
        return found

    refused(2, r"^rank 0 \(node0, process 100\): NCCL_ERROR_REMOTE_ERROR", device)


def test_gpus_that_cannot_be_connected() -> None:
    def device(rank: int) -> CudaDevice:
        found = device_of(Machine())
        nccl = found.nccl()

        def refuse(*_: Any) -> None:
            raise nccl.NcclError(6)

        nccl.NcclCommunicator = refuse
        return found

    refused(2, r"^NCCL cannot connect the GPUs \(NCCL_ERROR_REMOTE_ERROR.*\): NCCL_DEBUG=WARN has it say why$", device)


def test_switches_do_not_add_unless_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    device, found = device_of(Machine()), []
    make = device.nccl().NcclCommunicator

    def noted(*arguments: Any) -> Any:
        # NCCL reads it while a communicator is made
        found.append(os.environ.get(IN_SWITCHES))
        return make(*arguments)

    device.nccl().NcclCommunicator = noted
    NcclWire(ALONE, device)
    monkeypatch.setenv(IN_SWITCHES, "1")
    NcclWire(ALONE, device)
    assert found == ["0", "1"]


def test_a_communicator_is_of_its_devices_gpu() -> None:
    """Whichever is the current one of the thread that makes it."""
    machine = Machine()
    device = device_of(machine, index=1)
    machine.gpu = 0
    wire = NcclWire(ALONE, device)
    assert wire._communicator._gpu == 1


def test_an_nccl_that_cannot_be_recorded_at_one_rank_is_recorded_at_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(group: OfThreads) -> bool:
        device = device_of(Machine())
        device.xp.cuda.runtime.driverGetVersion = lambda: 11020 if group.rank else 13000
        return NcclWire(group, device).is_recordable

    assert in_ranks(2, body) == [False, False]
    assert not NcclWire(ALONE, device_of(Machine(), nccl_version=2804)).is_recordable
    assert NcclWire(ALONE, device_of(Machine(), nccl_version=20900)).is_recordable


# The library


def test_cupy_says_whether_there_is_an_nccl() -> None:
    pytest.importorskip("cupy")
    from ttfs_cupy.device import import_cupy

    cupy = import_cupy()
    runtime = SimpleNamespace(driverGetVersion=lambda: 13000)
    try:
        nccl = nccl_library.import_nccl(SimpleNamespace(cuda=SimpleNamespace(runtime=runtime)))
    except UserError as error:
        pytest.skip(str(error))
    assert cupy is not None and nccl.get_version() >= 20000
    for name in ("NcclCommunicator", "NcclError", "NCCL_FLOAT32", "NCCL_FLOAT64", "NCCL_SUM", "get_unique_id"):
        assert hasattr(nccl, name)
    stand_in = device_of(Machine()).nccl()
    assert (nccl.NCCL_FLOAT32, nccl.NCCL_FLOAT64) == (stand_in.NCCL_FLOAT32, stand_in.NCCL_FLOAT64)
    assert nccl.NCCL_SUM == stand_in.NCCL_SUM
    for method in ("allReduce", "abort", "destroy", "check_async_error", "rank_id"):
        assert hasattr(nccl.NcclCommunicator, method)


@pytest.mark.parametrize(
    ("wheels", "driver", "match"),
    [
        ([13], 12040, "nvidia-nccl-cu13, is for CUDA 13, and this driver knows CUDA up to 12.4: pip uninstall"),
        ([13], 13000, None),
    ],
)
def test_an_nccl_for_a_newer_driver(
    wheels: list[int], driver: int, match: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nccl_library, "_wheels", lambda: wheels)
    trouble = nccl_library._trouble(SimpleNamespace(available=True), driver)
    assert trouble is None if match is None else match in (trouble or "")


@pytest.mark.parametrize(
    ("major", "wheel"), [(12, "nvidia-nccl-cu12"), (13, "nvidia-nccl-cu13"), (None, "nvidia-nccl-cu12")]
)
def test_what_to_install(major: int | None, wheel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "wanted_major", lambda: major)
    assert cuda_libraries.how_to_install("nccl") == f"pip install {wheel}"


def test_the_table_tells_whoever_comes_late() -> None:
    table = Table(2)
    table.lose(1)
    with pytest.raises(LostRankError, match="rank 1 has ended"):
        OfThreads(table, 0).gather(1)
