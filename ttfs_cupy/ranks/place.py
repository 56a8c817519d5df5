"""Which of a run's processes this one is, from what mpirun, srun or torchrun say in the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

# By what the processes find one another: MPI itself, or the address of rank 0 in MASTER_ADDR and MASTER_PORT
Meeting = Literal["alone", "mpi", "address"]

# of processes in a run
MOST = 1 << 16


@dataclass(frozen=True)
class Place:
    """rank, size: this process and all of the run's; local_rank, local_size: the same among those of this machine.

    local_size is counted once the processes have met (`join`), and is 1 until then.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    meeting: Meeting = "alone"


@dataclass(frozen=True)
class _Launcher:
    """The variables in which one says rank, size and local rank; of the last whichever is there, or none."""

    name: str
    rank: str
    size: str
    local_ranks: tuple[str, ...]
    meeting: Meeting

    @property
    def both(self) -> str:
        return f"{self.rank} and {self.size}"


# The first whose variables are there counts: what srun starts may be torchrun or mpirun, which start the ranks. Slurm's
# batch script has SLURM_PROCID and SLURM_NTASKS, and is no rank: a step's processes have SLURM_STEP_NUM_TASKS, too.
TORCHRUN = _Launcher("torchrun", "RANK", "WORLD_SIZE", ("LOCAL_RANK",), "address")
OPEN_MPI = _Launcher("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ("OMPI_COMM_WORLD_LOCAL_RANK",), "mpi")
# MPICH, Intel MPI, Cray MPICH, and srun --mpi=pmi2
PMI = _Launcher("MPI", "PMI_RANK", "PMI_SIZE", ("MPI_LOCALRANKID", "SLURM_LOCALID", "PALS_LOCAL_RANKID"), "mpi")
SLURM = _Launcher("Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", ("SLURM_LOCALID",), "mpi")
LAUNCHERS = (TORCHRUN, OPEN_MPI, PMI, SLURM)


def place(environment: Mapping[str, str]) -> Place:
    """What a launcher says there of this process; alone, if none says anything, or has started no other.

    A local rank of which nothing is said is 0. Raises UserError where a value is no number, or contradicts another.
    """
    launcher = launcher_of(environment)
    if launcher is None:
        return Place()
    size = _number(environment, launcher.size, at_least=1)
    rank = _number(environment, launcher.rank, at_least=0)
    if size > MOST:
        raise UserError(f"{launcher.size} is {size}: at most {MOST} processes can be one run")
    if rank >= size:
        raise UserError(
            f"{launcher.rank} is {rank} and {launcher.size} is {size}, which contradict each other: ranks are counted "
            f"from 0 to {size - 1}"
        )
    if size == 1:
        return Place()
    local = local_rank(environment) or 0
    if local > rank:
        raise UserError(
            f"the local rank, {local}, is larger than {launcher.rank}, {rank}: it counts the processes of one machine, "
            "of which there are never more than of all"
        )
    return Place(rank, size, local_rank=local, meeting=launcher.meeting)


def local_rank(environment: Mapping[str, str]) -> int | None:
    """What the launcher says there of this process among those of its machine, if it says anything."""
    launcher = launcher_of(environment)
    names = [] if launcher is None else [name for name in launcher.local_ranks if name in environment]
    return _number(environment, names[0], at_least=0) if names else None


def launcher_of(environment: Mapping[str, str]) -> _Launcher | None:
    """Whose variables are there. Raises UserError where only one of torchrun's is."""
    has_rank, has_size = (name in environment for name in (TORCHRUN.rank, TORCHRUN.size))
    if has_rank != has_size:
        there, lacking = (TORCHRUN.rank, TORCHRUN.size) if has_rank else (TORCHRUN.size, TORCHRUN.rank)
        raise UserError(
            f"{there} is set in the environment and {lacking} is not: set both, as torchrun does, for a run of several "
            "processes, or neither"
        )
    return next((each for each in LAUNCHERS if each.rank in environment and each.size in environment), None)


def _number(environment: Mapping[str, str], name: str, at_least: int) -> int:
    text = environment[name]
    # what int() takes beside digits, such as 1_0, no launcher writes
    if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= at_least:
        return int(text)
    raise UserError(f"{name} is {shown(text)} in the environment: it must be a whole number from {at_least} up")
