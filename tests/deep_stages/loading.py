"""What may happen to a variant in a process of the pool that compiles and loads."""

import os
import time

from ttfs_cupy.kernels.source import Variant


def threads(variant: Variant) -> int:
    """All is well, but for one of 96 threads."""
    if variant.threads == 96:
        raise RuntimeError("does not compile")
    return variant.threads


def crash(variant: Variant) -> int:
    os._exit(3)


def hang(variant: Variant) -> int:
    time.sleep(3)
    return 0
