"""Times the engine beside the same network in PyTorch, on a CPU or a GPU: python -m ttfs_cupy.bench."""

import sys

from ttfs_cupy.benchmarks.comparison.command import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
