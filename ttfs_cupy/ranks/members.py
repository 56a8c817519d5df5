"""Who the processes of a run are."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfs_cupy.common.shown import one_line

# of the kernel that runs, whatever a container calls its host
BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Member:
    """A process of the run. machine: the same for all processes of a machine, and no others."""

    host: str
    process: int
    machine: str

    @classmethod
    def here(cls) -> "Member":
        """This process."""
        host = socket.gethostname()
        try:
            machine = BOOT.read_text().strip()
        except OSError:
            machine = host
        return cls(host, os.getpid(), machine)

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Member":
        """What another process says of itself. Raises TypeError, and ValueError."""
        host, process, machine = values
        if not (isinstance(host, str) and type(process) is int and isinstance(machine, str)):
            raise TypeError("no member")
        return cls(one_line(host, 100), process, machine)

    def lives(self) -> bool:
        """Of a process of this machine, as far as can be seen: not into other containers."""
        # a run of one process needs none
        import psutil

        try:
            return bool(psutil.Process(self.process).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD))
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return True

    def named(self, rank: int) -> str:
        """As messages call it."""
        return f"rank {rank} ({self.host}, process {self.process})"
