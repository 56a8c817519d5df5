"""As tensorcore, with one product for A and one for S: halves have TF32's 11 significant bits, forward, too.

Five products become two. Where a neuron is near the brink it may flip, which the next layer's weight sums feel
(docs/model.md, "Sensitivity"): it is for those who have measured that their network bears it.
"""

from ttfs_cupy.convolution.algorithm import PASSES, TF32
from ttfs_cupy.convolution.tensorcore.split import TF32_TOLERANCE, TensorCore


class TensorCoreTf32(TensorCore):
    """Like every Algorithm."""

    name = "tensorcore_tf32"
    precision = TF32
    rank = 3
    tolerance = dict.fromkeys(PASSES, TF32_TOLERANCE)
    split = False


ALGORITHM = TensorCoreTf32
