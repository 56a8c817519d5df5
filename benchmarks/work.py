"""How much there is to compute in a task, counted as Network.summary() counts: every convolution done directly."""

from collections.abc import Iterator

from ttfs_cupy.benchmarks.workload import CLASSES, Task, Workload
from ttfs_cupy.convolution.shape import ConvolutionShape


def flops(task: Task, *, masked: bool) -> int:
    """Per image, two for each multiply-add.

    masked: the mask is convolved, too, and has a weight gradient of its own: the engine at any psp_slope but 0.
    """
    products = 2 if masked else 1
    total = 0
    for index, shape in enumerate(shapes(task.workload)):
        # the weights' gradients, and but for the images the inputs'
        backward = products + (1 if index else 0)
        total += (products + (backward if task.work == "step" else 0)) * shape.multiplications
    return 2 * total


def shapes(workload: Workload) -> Iterator[ConvolutionShape]:
    """Of every layer that has weights; the readout's kernel covers its whole input."""
    channels, height, width = workload.input_shape
    for entry in workload.spec:
        if isinstance(entry, int):
            yield ConvolutionShape((height, width), channels, entry, kernel=(3, 3), padding=(1, 1))
            channels = entry
        else:
            height, width = height // 2, width // 2
    yield ConvolutionShape((height, width), channels, CLASSES, kernel=(height, width))
