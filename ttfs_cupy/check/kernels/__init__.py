"""One check for every kernel: awkward arguments, a plain float64 reference in NumPy, a stated tolerance.

`python -m ttfs_cupy.check` runs them on the device at hand, and the tests on the CPU. A check is a function named as
its kernel, in the module named as the kernel's file; there is no other list of them.
"""

from ttfs_cupy.check.kernels.registry import Result, check_kernels, checks

__all__ = ["Result", "check_kernels", "checks"]
