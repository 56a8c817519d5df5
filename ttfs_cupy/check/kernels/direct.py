"""Checks of direct.cu: convolutions as sums over taps of the padded images."""

import itertools

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.neuron import Rounded, compare_spikes, outgoing
from ttfs_cupy.check.kernels.references.patches import patches_of
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.convolution.shape import ConvolutionShape

BATCH = 5

# A first layer of one and of three channels; everything rectangular, with strides that leave inputs out; the largest
# patch that fits, as a full connection.
SHAPES = (
    ConvolutionShape((28, 27), 1, 37, (3, 3), (1, 1), (1, 1)),
    ConvolutionShape((11, 13), 3, 19, (3, 2), (2, 1), (1, 2)),
    ConvolutionShape((9, 8), 5, 6, (2, 1), (3, 2), (2, 3)),
    ConvolutionShape((4, 4), 4, 11, (4, 4)),
)


def _sizes(shape: ConvolutionShape) -> tuple[int, ...]:
    return (*shape.in_size, shape.in_channels, *shape.out_size, *shape.kernel, *shape.stride, *shape.padding)


@check(tolerance=2e-6)
def direct_fire(trial: KernelTrial) -> None:
    for shape in SHAPES:
        images = trial.spikes(BATCH, *shape.in_size, shape.in_channels)
        weights = trial.normal(shape.patch_size, shape.out_channels, scale=shape.patch_size**-0.5)
        patches, size = patches_of(images.astype(np.float64), shape), np.abs(weights.astype(np.float64))
        mask = (patches != 0).astype(np.float64)
        rows, out = len(patches), shape.out_channels
        for slope, scale, t_win in ((1.0, 1.0, 1.0), (0.3, 1.0, 3.0), (0.0, 3.0, 3.0)):
            has_mask = int(slope > 0)
            drive, sums = (
                Rounded(scale * (patches @ weights), scale * (patches @ size)),
                Rounded(mask @ weights, mask @ size),
            )
            # with initial potentials, too, but for the first rule
            initial = None if slope == 1 else trial.normal(out, scale=0.3)
            if initial is not None:
                drive = Rounded(drive.value + t_win * initial, drive.size + t_win * np.abs(initial))
            rule = (np.full(1, slope, np.float32), scale, t_win, initial, has_mask)
            blanks = (trial.blank(rows, out), trial.blank(rows, out) if has_mask else None)
            results = trial.launch(rows * out, images, weights, *rule, *blanks, rows, out, *_sizes(shape))
            compare_spikes(trial, results[0], drive, sums, slope, t_win)
            if has_mask:
                trial.compare(results[1], *sums)
                (alone,) = trial.launch(rows * out, images, weights, *rule, blanks[0], None, rows, out, *_sizes(shape))
                trial.require(alone.tobytes() == results[0].tobytes(), "keeping the weight sum changes the earliness")


@check(tolerance=2e-6)
def direct_weight_gradient(trial: KernelTrial) -> None:
    for shape in SHAPES:
        images = trial.spikes(BATCH, *shape.in_size, shape.in_channels)
        patches = patches_of(images.astype(np.float64), shape)
        rows, out = len(patches), shape.out_channels
        grad, weight_sum = trial.normal(rows, out), trial.uniform(-0.5, 4, rows, out)
        earliness = trial.spikes(rows, out)
        # of a neuron that passes gradients on
        grad[1, 0], earliness[1, 0] = np.nan, 0.5
        for group_rows, with_weight_sum in itertools.product((rows, rows // 3 + 1), (0, 1)):
            rule = (np.full(1, with_weight_sum, np.float32), 1.0, 1.0, 5.0, with_weight_sum)
            given = outgoing(grad, earliness, weight_sum, *rule)
            expected, bound = [], []
            for first in range(0, rows, group_rows):
                part = slice(first, first + group_rows)
                values, mask = patches[part], with_weight_sum * (patches[part] != 0)
                expected.append(values.T @ given.to_drive[part] + mask.T @ given.to_sum[part])
                bound.append(values.T @ given.drive_size[part] + mask.T @ given.sum_size[part])
            groups = -(-rows // group_rows)
            arguments = (images, grad, earliness, weight_sum if with_weight_sum else None, *rule)
            cut = (trial.blank(groups, shape.patch_size, out), groups, group_rows, rows, out)
            (sums,) = trial.launch(groups * out, *arguments, *cut, *_sizes(shape))
            trial.compare(sums, np.array(expected), np.array(bound))
