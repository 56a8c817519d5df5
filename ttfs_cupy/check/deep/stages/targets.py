"""What NVIDIA's tools watch, in a process that does nothing else: HOT_OR_SHAPES DEVICE."""

import sys
from collections.abc import Sequence

from ttfs_cupy.check.algorithms import SHAPES
from ttfs_cupy.check.deep.references.layer_trial import LayerTrial
from ttfs_cupy.check.kernels import check_kernels
from ttfs_cupy.check.trial import Trial
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass
from ttfs_cupy.convolution.choice import suited
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Device, get_device

# Of vgg11, the layer that takes longest
HOT, BATCH = ConvolutionShape((32, 32), 128, 128, (3, 3), padding=(1, 1)), 128
ROUNDS = 2

IMAGES = 2


def main(arguments: Sequence[str]) -> int:
    what, name = arguments
    device, _ = get_device(name)
    if what == "hot":
        hot(device, HOT if device.gpu is not None else SHAPES[0][0], BATCH if device.gpu is not None else IMAGES)
    else:
        shapes(device)
    return 0


def hot(device: Device, shape: ConvolutionShape, batch_size: int) -> None:
    """The three passes, one after the other, twice: the first time they warm up."""
    trial, algorithm = LayerTrial(device, shape, batch_size), suited(shape, device)(device, shape)
    bodies = [trial.body(algorithm, which, trial.with_weight_sum)[0] for which in PASSES]
    for _ in range(ROUNDS):
        for body in bodies:
            body()
    device.synchronize()


def shapes(device: Device) -> None:
    """Every kernel by its check, then every algorithm on check's shapes, and last the variants of the last shape."""
    if device.target == "cuda":
        # each array by itself: within a pool nobody sees that one is overrun
        device.xp.cuda.set_allocator(None)
    for result in check_kernels(device, guard=0):
        print(result.kernel, "ok" if result.passed else result.problem, flush=True)
    for shape, pooled in SHAPES:
        for kind in algorithms().values():
            if kind.fits(shape, device) is None:
                for which in PASSES:
                    _pass(Trial(device, shape, IMAGES, 1.0, pooled), kind(device, shape), which)
    shape, pooled = SHAPES[-1]
    for kind in algorithms().values():
        if kind.fits(shape, device) is None:
            for which in PASSES:
                for algorithm in kind(device, shape).variants(which).values():
                    _pass(Trial(device, shape, IMAGES, 1.0, pooled), algorithm, which)


def _pass(trial: Trial, algorithm: Algorithm, which: Pass) -> None:
    print(algorithm.name, which, trial.shape, flush=True)
    pooled = trial.pooled and algorithm.joins_pooling
    if which == "forward":
        trial.forward(algorithm, pooled=pooled)
    else:
        trial.backward(algorithm, which, pooled=pooled)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
