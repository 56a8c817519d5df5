"""python -m ttfs_cupy COMMAND, as `ttfs COMMAND`."""

from ttfs_cupy.common.command import entry

if __name__ == "__main__":
    entry.front()
