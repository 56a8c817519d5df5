"""Which of a run's processes this one is, from what mpirun, srun or torchrun say in the environment."""

from dataclasses import dataclass
from typing import Literal

# By what the processes find one another: MPI itself, or the address of rank 0 in MASTER_ADDR and MASTER_PORT
Meeting = Literal["alone", "mpi", "address"]


@dataclass(frozen=True)
class Place:
    """rank, size: this process and all of the run's; local_rank, local_size: the same among those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    meeting: Meeting = "alone"
