"""python -m ttfs_cupy.check."""

import sys

from ttfs_cupy.check import main

if __name__ == "__main__":
    sys.exit(main())
