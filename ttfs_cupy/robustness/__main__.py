"""python -m ttfs_cupy.robustness."""

from ttfs_cupy.common.command import entry

if __name__ == "__main__":
    entry.robustness()
