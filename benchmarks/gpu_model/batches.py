"""Batches as a GPU makes them, on a GPU that is not at hand: what is launched for one, and for how long."""

import numpy as np

from ttfs_cupy.benchmarks.gpu_model.assumptions import Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_model.kernels import timed
from ttfs_cupy.benchmarks.gpu_model.ours import Part
from ttfs_cupy.benchmarks.gpu_model.recorder import RecordingGpu
from ttfs_cupy.benchmarks.workload import Workload
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.data.production import Production
from ttfs_cupy.neuron import Encoder

# Of what is made; the engine's own names
AUGMENTATIONS = ("none", "crop_flip", "cifar")


def part(workload: Workload, batch_size: int, augment: str, gpu: Gpu, given: Assumptions) -> Part:
    """All launches of a batch, from the set's bytes to the network's input."""
    channels, height, width = workload.input_shape
    # its own size does not matter: of a set no more is read than a batch's images
    images = ImageSet(np.zeros((batch_size, height, width, channels), np.uint8), np.zeros(batch_size, np.int32))
    device = RecordingGpu(gpu)
    batches = Batches(images, batch_size, encode=Encoder(), shuffle=True, augment=augment)
    production = Production(batches, device)
    production.begin(0)
    production.send(0)
    production.take()
    device.launches = []
    production.make(batch_size)
    launches = tuple(timed(one, gpu, given) for one in device.launches)
    floor = images.images.nbytes + 4 * images.images.size
    return Part("", f"batch, {augment}", "", launches, floor=floor)
