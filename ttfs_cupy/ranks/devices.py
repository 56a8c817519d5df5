"""Which device each rank of a run computes on: a GPU each, or a share of its machine's cores."""

from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.cores import available_cores, core_numbers, environments_threads
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.device import Device, cuda_trouble, get_device, import_cupy
from ttfs_cupy.ranks.group import Group


@dataclass(frozen=True)
class _Offer:
    """What a rank's machine has for it. gpus: how many it sees, 0 with the reason in trouble. cores: which it may use;
    is_set: whether OMP_NUM_THREADS says how many threads it is to have."""

    gpus: int
    trouble: str | None
    local_rank: int
    local_size: int
    cores: list[int]
    is_set: bool


def device_of_rank(group: Group, name: str = "auto", threads: int | None = None) -> tuple[str, int | None]:
    """What this rank asks get_device() for, where the config says `name` and `threads`; all ranks call it.

    cuda, and auto where all ranks find GPUs: a rank's local rank is the number of its GPU. Where a process sees one GPU
    only, as srun can arrange by CUDA_VISIBLE_DEVICES, that is the one; whether two ranks then have the same one, their
    wire finds out. On CPUs, ranks that may use the same cores share them: each has as many threads as there are cores
    for it, at least one, unless `threads` or OMP_NUM_THREADS says otherwise.

    Raises UserError, at all ranks, where GPUs are too few or not there, where some ranks have GPUs and others none, and
    for cuda:N, which is one GPU, with several ranks of one machine.
    """
    if group.size == 1:
        return name, threads
    offers = [_Offer(**each) for each in group.gather(vars(_offer(group, name)))]
    if name == "cpu" or (name == "auto" and not any(offer.gpus for offer in offers)):
        return name, threads or _threads(group, offers)
    for rank, offer in enumerate(offers):
        if trouble := _gpu_trouble(name, offer):
            raise UserError(f"{group.members[rank].named(rank)}: {trouble}")
    if name not in ("auto", "cuda"):
        return name, threads
    own = offers[group.rank]
    return f"cuda:{own.local_rank if own.gpus > 1 else 0}", threads


def get_device_of_rank(group: Group, name: str = "auto", threads: int | None = None) -> tuple[Device, str]:
    """get_device() for what device_of_rank() says, and why it is that one; all ranks call it, and what they raise is
    raised here."""
    own, share = device_of_rank(group, name, threads)
    device, reason = get_device(own, share)
    if share == threads:
        return device, reason
    return device, "its share of the cores" if name == "cpu" else f"{reason}; its share of the cores"


def _offer(group: Group, name: str) -> _Offer:
    trouble = None if name == "cpu" else cuda_trouble()
    gpus = 0 if trouble or name == "cpu" else int(import_cupy().cuda.runtime.getDeviceCount())
    is_set = environments_threads() is not None
    return _Offer(gpus, trouble, group.place.local_rank, group.place.local_size, core_numbers(), is_set)


def _gpu_trouble(name: str, offer: _Offer) -> str | None:
    """Why that rank cannot have a GPU of its own."""
    if not offer.gpus:
        instead = "all ranks compute on GPUs, or all on CPUs (device: cpu)"
        return f"device {shown(name)} cannot be used here: {offer.trouble}; {instead}"
    if name not in ("auto", "cuda"):
        if offer.local_size == 1:
            return None
        return f"device {shown(name)} is one GPU, for {offer.local_size} ranks of this machine: write cuda"
    if 1 < offer.gpus < (ranks := max(offer.local_size, offer.local_rank + 1)):
        return f"this machine has {ranks} ranks and {offer.gpus} GPUs: start one process a GPU"
    return None


def _threads(group: Group, offers: list[_Offer]) -> int | None:
    """How many for this rank; None for what get_device() takes by itself."""
    own, machine = offers[group.rank], group.members[group.rank].machine
    if own.is_set:
        return None
    sharing = [
        rank for rank, offer in enumerate(offers) if group.members[rank].machine == machine and offer.cores == own.cores
    ]
    return max(1, available_cores() // len(sharing))


def require_own_gpus(group: Group, gpus: list[Any]) -> None:
    """Raises UserError where two ranks of a machine have one GPU. gpus: by rank, the address on the PCI bus."""
    ranks: dict[tuple[str, Any], list[int]] = {}
    for rank, (member, gpu) in enumerate(zip(group.members, gpus, strict=True)):
        ranks.setdefault((member.machine, gpu), []).append(rank)
    for (_, gpu), sharing in ranks.items():
        if len(sharing) > 1:
            raise UserError(
                f"{listed(group.members[rank].named(rank) for rank in sharing)} have the same GPU ({gpu}), which NCCL "
                "cannot use: start one process a GPU, with device: cuda"
            )
