"""Runs cooperative CUDA kernels on the CPU, unchanged, and finds what is wrong with them.

Every thread of a block is a fiber; barriers, a warp's collectives, asynchronous copies and tensor cores are as CUDA
defines them. g++ compiles a kernel with the instrumentation of its thread sanitizer, which reports each access to
memory to the emulator's own runtime (the folder of that name).
"""

from emulator.build import BuildError, why_not
from emulator.launch import Emulator
from emulator.report import BankUse, KernelError, Report

__all__ = ["BankUse", "BuildError", "Emulator", "KernelError", "Report", "why_not"]
