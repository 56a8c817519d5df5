"""Labels of a few images that are two in one."""

import numpy as np

from ttfs_cupy import MixedLabels

LABELS = np.array([0, 3, 1, 2, 1, 0], np.int32)
OTHERS = np.array([1, 0, 1, 3, 2, 3], np.int32)
SHARES = np.array([0.3, 0.5, 0.9, 0.0, 1.0, 0.625], np.float32)
MIXED = MixedLabels(LABELS, OTHERS, SHARES)
COUNT = len(LABELS)
