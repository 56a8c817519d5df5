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

    within, between: the share of the bandwidth, in one machine and in several. longer: an all-reduce's latency between
    machines takes so many times as long. by_size: a share of the share, for 64 bytes, and for each power of two more;
    1 for what is larger.
    """

    name: str
    algorithm: Algorithm
    base: float
    nvlink: float
    network: float
    within: float
    between: float
    longer: float = 1.0
    by_size: tuple[float, ...] = ()

    def share(self, machines: int) -> float:
        """Of the bandwidth."""
        return self.within if machines == 1 else self.between

    def of_size(self, size: int) -> float:
        """Of that share, for so many bytes."""
        power = max(size >> 6, 1).bit_length() - 1
        return self.by_size[power] if power < len(self.by_size) else 1.0


# treeCorrectionFactor
_TREE_LL, _TREE_LL128, _TREE_SIMPLE = (
    (1, 1, 1, 1, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    (1, 1, 1, 1, 1, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9),
    (*(0.9,) * 7, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.7, 0.7, 0.8, 0.9, 0.9),
)

# Half of what LL sends are flags, of LL128 one sixteenth; a tree has 92 % of a ring's bandwidth, by LL a 3.8th of
# that, and by LL128 7 of 9 within a machine. The plateau of a ring by Simple, x 1.4, is from 64 bytes a channel and
# rank on: all sizes for which it would be taken. What is left out: docs/scaling.md.
PROTOCOLS = (
    Protocol("LL", "ring", 6.6, 0.6, 2.7, 0.5, 0.5),
    Protocol("LL128", "ring", 14.0, 1.9, 4.0, 0.92, 0.92),
    Protocol("Simple", "ring", 8.4, 3.4, 14.0, 1.0, 1.0, longer=1.4),
    Protocol("LL", "tree", 6.8, 0.6, 5.0, 0.92 / 3.8, 0.92 / 3.8, by_size=_TREE_LL),
    Protocol("LL128", "tree", 14.0, 1.25, 8.5, 0.92 * 7 / 9, 0.92 * 120 / 128, by_size=_TREE_LL128),
    Protocol("Simple", "tree", 8.4, 4.0, 14.0, 0.92, 0.92, by_size=_TREE_SIMPLE),
)


@dataclass(frozen=True)
class NvLink:
    """A GPU's links to all others of its machine, GB/s each way, as NCCL counts on them; nominal: by the data sheet.

    most_by_ll: what it sends by LL at most, in one machine, in two and in more (llMaxBws of tuning.cc). overhead:
    microseconds that a ring's hop takes at least between machines, by Simple three times as many (getNetOverhead). Both
    are by the CPU where there are several machines: that of NVIDIA's own machine with this GPU.
    """

    links: int
    of_a_link: float
    nominal: float
    most_by_ll: tuple[float, float, float]
    overhead: float
    source: str

    @property
    def bandwidth(self) -> float:
        return self.links * self.of_a_link


# By the names of gpu_model's GPUS
NVLINKS: Mapping[str, NvLink] = {
    "A100": NvLink(
        *(12, 20.0, 300, (87.7, 22.5, 19.0), 2.0),
        "A100 data sheet, 600 GB/s both ways; a link: NCCL, src/graph/topo.h, SM80_NVLINK_BW; DGX A100: CPUs of AMD",
    ),
    "H100": NvLink(
        *(18, 20.6, 450, (141.0, 39.0, 20.4), 1.0),
        "H100 data sheet, 900 GB/s both ways; a link: NCCL, src/graph/topo.h, SM90_NVLINK_BW; DGX H100: CPUs of Intel",
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
    occupied: float = said(24, "multiprocessors that wait or add in NCCL's kernels while an exchange runs: an estimate")
    conversion: float = said(2.0, "microseconds to launch one conversion of a bucket to or from float16, in a graph")

    def lines(self) -> list[str]:
        """One for each."""
        return [
            f"{entry.name + ':':22}{getattr(self, entry.name):g}  {entry.metadata['meaning']}"
            for entry in dataclasses.fields(self)
            if entry.metadata
        ]
