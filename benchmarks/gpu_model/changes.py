"""What changes of the kernels would gain, by the model: the same launches, other costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ttfs_cupy.benchmarks.gpu_model.assumptions import Assumptions
from ttfs_cupy.benchmarks.gpu_model.ours import Step, Trace


@dataclass(frozen=True)
class Change:
    """costs: assumptions that it alters. wgmma: products as fast as Hopper's instruction allows. half: backward at
    the rate of halves. exact: the arithmetic stays.
    """

    what: str
    costs: Mapping[str, float] = field(default_factory=dict)
    wgmma: bool = False
    half: bool = False
    exact: bool = True

    def step(self, trace: Trace, given: Assumptions) -> Step:
        gpu = trace.gpu
        if self.wgmma and gpu.capability == (9, 0):
            gpu = replace(gpu, mma_share=1.0)
        if self.half:
            gpu = replace(gpu, tf32=gpu.half)
        return trace.step(given.changed(**self.costs), gpu=gpu)

    def and_also(self, other: "Change") -> "Change":
        return Change(
            self.what,
            {**self.costs, **other.costs},
            *(self.wgmma or other.wgmma, self.half or other.half),
        )


# A neuron's gradients come ready to be multiplied: nothing is derived as they enter.
HANDED_DOWN = {
    "gradient_arrays": 1.0,
    "gradient_piece": 30.0,
    "gradient_pooled": 12.0,
    "sum_arrays": 2.0,
    "sum_neurons": 30.0,
    "sum_pooled": 8.0,
}
CHANGES = (
    Change("wgmma in the gradients, too, on compute capability 9.0", wgmma=True),
    Change("the data gradient ends by forming dLoss/dA and dLoss/dS of the layer below, which come ready", HANDED_DOWN),
    Change("more warps, or deeper stages: two warps a scheduler no longer wait", {"of_two_warps": 0.95}),
    Change("backward in scaled halves instead of TF32: as many bits, a smaller range", half=True, exact=False),
    Change("forward without the second halves (flips neurons)", {"split": 0.0}, exact=False),
)


@dataclass(frozen=True)
class Gain:
    """time: of a step with the change, in microseconds; share: of the time without it that is gone.

    together: with it and all the exact changes before it, in microseconds; 0 for one that is not exact.
    """

    what: str
    time: float
    share: float
    exact: bool
    together: float = 0.0


def gains(trace: Trace, given: Assumptions) -> Sequence[Gain]:
    """First the changes that leave the arithmetic, each the one that gains most on top of those before it."""
    before = trace.step(given).time

    def gain(change: Change, together: float = 0.0) -> Gain:
        time = change.step(trace, given).time
        return Gain(change.what, time, 1 - time / before, change.exact, together)

    found, made = [], Change("")
    left = [change for change in CHANGES if change.exact]
    while left:
        best = min(left, key=lambda change: made.and_also(change).step(trace, given).time)
        left.remove(best)
        made = made.and_also(best)
        found.append(gain(best, made.step(trace, given).time))
    found = [one for one in found if one.share > 0]
    others = sorted((gain(change) for change in CHANGES if not change.exact), key=lambda one: one.time)
    return [*found, *others]
