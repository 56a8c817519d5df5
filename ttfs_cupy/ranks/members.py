"""Who the processes of a run are."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

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

    def named(self, rank: int) -> str:
        """As messages call it."""
        return f"rank {rank} ({self.host}, process {self.process})"
