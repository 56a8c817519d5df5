"""What the model of many GPUs takes for granted, all of it, beyond what gpu_model assumes of one."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ttfs_cupy.convolution.tensorcore.costs import said

Algorithm = Literal["ring", "tree"]


@dataclass(frozen=True)
class Protocol:
    """A way of NCCL's to send (2.28, src/graph/tuning.cc). Microseconds: base, of a call; nvlink, network: of a hop.
    share: of the bandwidth."""

    name: str
    algorithm: Algorithm
    base: float
    nvlink: float
    network: float
    share: float


# All of tuning.cc. Half of what LL sends are flags, of LL128 one sixteenth; a GPU sends less by LL in a tree.
PROTOCOLS = (
    Protocol("LL", "ring", 6.6, 0.6, 2.7, 0.5),
    Protocol("LL128", "ring", 14.0, 1.9, 4.0, 0.92),
    Protocol("Simple", "ring", 8.4, 3.4, 14.0, 1.0),
    Protocol("LL", "tree", 6.8, 0.6, 5.0, 1 / 3.8),
    Protocol("LL128", "tree", 14.0, 1.25, 8.5, 0.915),
    Protocol("Simple", "tree", 8.4, 4.0, 14.0, 1.0),
)


@dataclass(frozen=True)
class NvLink:
    """A GPU's links to all others of its machine, GB/s each way, as NCCL counts on them; nominal: by the data sheet.

    most_by_ll: what it sends by LL at most, within a machine and between several (llMaxBws of tuning.cc).
    """

    links: int
    of_a_link: float
    nominal: float
    most_by_ll: tuple[float, float]
    source: str

    @property
    def bandwidth(self) -> float:
        return self.links * self.of_a_link


# By the names of gpu_model's GPUS
NVLINKS: Mapping[str, NvLink] = {
    "A100": NvLink(
        *(12, 20.0, 300, (87.7, 19.0)),
        "A100 data sheet, 600 GB/s both ways; a link: NCCL, src/graph/topo.h, SM80_NVLINK_BW",
    ),
    "H100": NvLink(
        *(18, 20.6, 450, (141.0, 35.0)),
        "H100 data sheet, 900 GB/s both ways; a link: NCCL, src/graph/topo.h, SM90_NVLINK_BW",
    ),
}


@dataclass(frozen=True)
class Network:
    """Between machines: how many adapters each has, and what one carries each way, GB/s."""

    name: str
    adapters: int
    of_an_adapter: float
    source: str

    @property
    def nominal(self) -> float:
        return self.adapters * self.of_an_adapter


NETWORKS: Mapping[str, Network] = {
    network.name: network
    for network in (
        Network("1x400", 1, 50.0, "one adapter of 400 Gb/s (NDR InfiniBand) a machine"),
        Network("8x400", 8, 50.0, "one adapter of 400 Gb/s a GPU, as in a DGX H100 (its data sheet: eight ConnectX-7)"),
    )
}


@dataclass(frozen=True)
class Assumptions:
    """Everything besides: protocols, links and networks stand above."""

    machine: float = said(8, "GPUs of a machine, all of them by NVLink")
    network_share: float = said(0.9, "of an adapter's bandwidth that arrives: an estimate")
    tree_share: float = said(
        0.6, "of a tree's bandwidth, beside a ring's, for some MB: treeCorrectionFactor, tuning.cc"
    )
    occupied: float = said(24, "multiprocessors that wait or add in NCCL's kernels while an exchange runs: an estimate")
    conversion: float = said(2.0, "microseconds to launch one conversion of a bucket to or from float16, in a graph")

    def lines(self) -> list[str]:
        """One for each."""
        return [
            f"{entry.name + ':':22}{getattr(self, entry.name):g}  {entry.metadata['meaning']}"
            for entry in dataclasses.fields(self)
            if entry.metadata
        ]
