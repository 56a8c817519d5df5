"""Fuzzers that find something, in their third attempt."""

import ctypes
import random
import time
from pathlib import Path

import numpy as np

from ttfs_cupy.device import CpuDevice


class _Third:
    def __init__(self, folder: Path):
        self.attempts = 0

    def attempt(self, chance: random.Random) -> str:
        self.attempts += 1
        if self.attempts == 3:
            self.find()
        return "nothing"

    def find(self) -> None:
        raise NotImplementedError


class Breaks(_Third):
    def find(self) -> None:
        raise AssertionError("a promise was broken")


class Hangs(_Third):
    def find(self) -> None:
        time.sleep(60)


class Crashes(_Third):
    def find(self) -> None:
        ctypes.string_at(1)


class Grows(_Third):
    def attempt(self, chance: random.Random) -> str:
        self.attempts += 1
        if self.attempts == 12:  # the first ten tell what is usual
            self.find()
        return "nothing"

    def find(self) -> None:
        np.ones(5 << 28, np.uint8)


class ReadsBeyond(_Third):
    """What only a sanitizer sees."""

    def find(self) -> None:
        device = CpuDevice(1)
        device.launch("copy", 5, np.zeros(4, np.float32), np.zeros(8, np.float32), 5)
