"""All that only a GPU can tell about the engine, in minutes: python -m ttfs_cupy.check --deep --report DIR.

Stages run in processes of their own, the most important first, each with a limit of its own, so that a crash or a hang
in one leaves the others, and whatever was found is on disk. On a CPU each does what a CPU can.

What the machine needs: what training needs. For all of it also a GPU, PyTorch built for CUDA (peers, float64 beside
whole networks, microseconds of each kernel), scikit-learn (the digits to train on), and NVIDIA's ncu and
compute-sanitizer. A stage that lacks something says so and goes without.
"""

from ttfs_cupy.check.deep.runner import run
from ttfs_cupy.check.deep.stages import STAGES, Stage

__all__ = ["STAGES", "Stage", "run"]
