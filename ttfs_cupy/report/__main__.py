"""python -m ttfs_cupy.report."""

from ttfs_cupy.common.command import entry

if __name__ == "__main__":
    entry.report()
