"""A step on so many GPUs, where more of them stop paying, and what other ways to exchange would gain.

Times are microseconds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import compress, product

from ttfs_cupy.benchmarks.gpu_model.assumptions import GPUS
from ttfs_cupy.benchmarks.gpu_model.assumptions import Assumptions as OneGpu
from ttfs_cupy.benchmarks.scaling_model.assumptions import NETWORKS, NVLINKS, Assumptions
from ttfs_cupy.benchmarks.scaling_model.exchange import Fabric, Timeline, all_reduce, half_of_it, overlapped
from ttfs_cupy.benchmarks.scaling_model.share import Gradients, Share, gradients_of, share_of
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.device.parts import parts

FLOAT_BYTES, HALF_BYTES = 4, 2
# An optimiser's arrays, each as large as the weights: Adam's two moments
MOMENTS = 2

# Images a GPU that are tried, and GPUs
POWERS = tuple(2**power for power in range(13))


@dataclass(frozen=True)
class Run:
    """A network on GPUs of one kind, with what lies between them."""

    network: str
    gpu: str
    between: str
    given: Assumptions

    @property
    def fabric(self) -> Fabric:
        return Fabric(NVLINKS[self.gpu], NETWORKS[self.between], self.given)

    @property
    def gradients(self) -> Gradients:
        return gradients_of(WORKLOADS[self.network])

    @property
    def slower(self) -> float:
        return self.given.occupied / GPUS[self.gpu].multiprocessors

    def share(self, images: int) -> Share:
        return share_of(self.network, images, self.gpu)


@dataclass(frozen=True)
class Prediction:
    """images: of the whole step; a GPU has at most so many: of_a_gpu. how: of each bucket's exchange.

    efficiency: the time of a GPU's share alone to the step's.
    """

    ranks: int
    images: int
    of_a_gpu: int
    timeline: Timeline
    after_backward: float
    how: tuple[str, ...]

    @property
    def images_per_second(self) -> float:
        return self.images / self.timeline.time * 1e6

    @property
    def efficiency(self) -> float:
        return self.timeline.alone / self.timeline.time


def predict(run: Run, ranks: int, images: int) -> Prediction:
    """A step on that many images, evenly shared: the GPU with the most of them decides."""
    most = parts(images, ranks)
    share, gradients = run.share(most), run.gradients
    exchanges = [all_reduce(bucket.bytes, ranks, run.fabric) for bucket in gradients.buckets]
    times = [one.time for one in exchanges]
    line = overlapped(
        share.before,
        gradients.ready(share.backward, gradients.buckets),
        times,
        share.after,
        run.slower if ranks > 1 else 0,
    )
    after_backward = share.time + all_reduce(gradients.bytes, ranks, run.fabric).time
    return Prediction(ranks, images, most, line, after_backward, tuple(one.how for one in exchanges))


def speedup(run: Run, found: Prediction) -> float:
    """Images a second to those of one GPU alone, with the whole batch."""
    return run.share(found.images).time / found.timeline.time


def fewest_images(run: Run, ranks: int, efficiency: float) -> int | None:
    """Images a GPU, a power of two, from which on the efficiency is at least that; None if 4,096 are too few."""
    found = None
    for images in reversed(POWERS):
        if predict(run, ranks, images * ranks).efficiency < efficiency:
            break
        found = images
    return found


def fastest(run: Run, images: int) -> Prediction:
    """Of that many images a step, the number of GPUs, a power of two, at which images a second are the most."""
    return max(
        (predict(run, ranks, images) for ranks in POWERS if ranks <= images), key=lambda found: found.images_per_second
    )


@dataclass(frozen=True)
class OtherWay:
    """A step that exchanges in another way. memory: bytes that a GPU would keep less."""

    what: str
    time: float
    memory: int = 0


def other_ways(run: Run, ranks: int, images: int) -> Iterator[OtherWay]:
    """As it is, and otherwise: a step on that many images, evenly shared."""
    share, gradients, fabric = run.share(parts(images, ranks)), run.gradients, run.fabric
    ready = gradients.ready(share.backward, gradients.buckets)

    def time(exchange: Callable[[int], float], after: float) -> float:
        exchanges = [exchange(bucket.bytes) for bucket in gradients.buckets]
        return overlapped(share.before, ready, exchanges, after, run.slower).time

    found = predict(run, ranks, images)
    yield OtherWay("as it is: few buckets, each as soon as it is there", found.timeline.time)
    yield OtherWay("one all-reduce after backward", found.after_backward)
    yield _best_buckets(run, share, ranks)
    memory = OneGpu().memory_share * GPUS[run.gpu].memory * 1e3  # bytes a microsecond
    # each rank has the sum of its part of the gradients, steps its part of the weights, and gets those of all others
    gather = half_of_it(gradients.bytes, ranks, fabric)
    saved = MOMENTS * FLOAT_BYTES * gradients.size
    yield OtherWay(
        "the optimiser's state sharded",
        time(lambda size: half_of_it(size, ranks, fabric), share.after / ranks + gather),
        saved - saved // ranks,
    )

    def as_halves(size: int) -> float:
        moved = 2 * (FLOAT_BYTES + HALF_BYTES) * (size // FLOAT_BYTES)
        converted = moved / memory + 2 * run.given.conversion
        return all_reduce(size // 2, ranks, fabric).time + converted

    yield OtherWay("gradients sent as float16", time(as_halves, share.after), -HALF_BYTES * gradients.size)


def _best_buckets(run: Run, share: Share, ranks: int) -> OtherWay:
    """Of all ways to cut the gradients into buckets of whole layers."""
    gradients, fabric = run.gradients, run.fabric
    starts = gradients.starts
    found = []
    for kept in product((True, False), repeat=len(starts) - 1):
        buckets = gradients.cut([0, *compress(starts[1:], kept)])
        exchanges = [all_reduce(bucket.bytes, ranks, fabric).time for bucket in buckets]
        ready = gradients.ready(share.backward, buckets)
        found.append((overlapped(share.before, ready, exchanges, share.after, run.slower).time, buckets))
    time, buckets = min(found, key=lambda one: (one[0], len(one[1])))
    return OtherWay(f"the best buckets: {', '.join(f'{bucket.bytes / 1e6:.2f}' for bucket in buckets)} MB", time)
