"""What MPI leaves in shared memory where a process is killed."""

from contextlib import suppress
from pathlib import Path

# of MPICH and its relatives, in which the processes of a machine meet
SEGMENTS = "/dev/shm/mpich_"


def forget_names() -> None:
    """Takes the names off the shared memory of MPICH that this process has; the memory goes with the last process then.

    For when all ranks have begun MPI, since they find the memory by its name. Otherwise a rank that is killed leaves
    some MB behind, and worse: the name is made of the launcher's number for the job, which Slurm gives again to a job
    that it has put back into its queue. MPICH 5.0 then takes the old memory for the new one, and fails as it begins.
    """
    with suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            _, _, path = line.partition("/")
            if f"/{path}".startswith(SEGMENTS):
                # another rank of this machine may have been first
                with suppress(OSError):
                    Path(f"/{path}").unlink()
