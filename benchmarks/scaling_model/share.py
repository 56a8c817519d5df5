"""What a GPU computes of a step: its share of the images, by gpu_model, layer by layer. Times are microseconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from ttfs_cupy.benchmarks.gpu_model.assumptions import GPUS, Assumptions
from ttfs_cupy.benchmarks.gpu_model.ours import layers_of, trace
from ttfs_cupy.benchmarks.workload import WORKLOADS, Workload
from ttfs_cupy.engine.standardization import aligned
from ttfs_cupy.ranks.all_reduce import Bucket, buckets_of


@dataclass(frozen=True)
class Share:
    """before: forward and the loss. backward: by layer, the last first. after: the optimiser."""

    before: float
    backward: tuple[float, ...]
    after: float

    @property
    def time(self) -> float:
        return self.before + sum(self.backward) + self.after


@dataclass(frozen=True)
class Gradients:
    """starts: where each layer's begin in the one array. size: of the array, in float32."""

    starts: tuple[int, ...]
    size: int

    @property
    def buckets(self) -> list[Bucket]:
        """As the engine cuts them."""
        return buckets_of(self.starts, self.size, self.size)

    @property
    def bytes(self) -> int:
        return 4 * self.size

    def cut(self, firsts: Sequence[int]) -> list[Bucket]:
        """Buckets, in the engine's order, that begin at these places, which are starts of layers; the first is 0."""
        ends = [*firsts[1:], self.size]
        return [Bucket(first, end, first) for first, end in zip(reversed(firsts), reversed(ends), strict=True)]

    def ready(self, backward: Sequence[float], buckets: Sequence[Bucket]) -> list[float]:
        """Microseconds of backward until each bucket's gradients are there. backward: by layer, the last first."""
        until = dict(zip(reversed(self.starts), accumulate(backward), strict=True))
        return [until[bucket.due] for bucket in buckets]


def gradients_of(workload: Workload) -> Gradients:
    starts, size = [], 0
    for layer in layers_of(workload):
        starts.append(size)
        size += aligned(layer.shape.weights)
    return Gradients(tuple(starts), size)


@cache
def share_of(network: str, images: int, gpu_name: str) -> Share:
    """Raises UserError where NVRTC cannot be loaded."""
    workload = WORKLOADS[network]
    step = trace(workload, images, GPUS[gpu_name]).step(Assumptions())
    backward = ("data_gradient", "weight_gradient")
    of_layers = [
        sum(part.time for part in step.parts if part.layer == layer.name and part.which in backward)
        for layer in reversed(layers_of(workload))
    ]
    after = sum(part.time for part in step.parts if part.which == "optimiser")
    return Share(step.time - sum(of_layers) - after, tuple(of_layers), after)
