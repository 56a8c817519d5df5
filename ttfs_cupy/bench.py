"""Times the engine beside the same network in PyTorch, on a CPU or a GPU: python -m ttfs_cupy.bench."""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.bench()

from ttfs_cupy.benchmarks.comparison.command import main, parser

__all__ = ["main", "parser"]
