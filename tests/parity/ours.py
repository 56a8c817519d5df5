"""Our networks for the comparisons: on the device of the tests (reference/comparison.py), and float32 on each."""

from functools import partial

from reference.comparison import DEVICE

import ttfs_cupy

build = partial(ttfs_cupy.build, device=DEVICE, precision="float32")
