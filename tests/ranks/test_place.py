"""Which process of a run this is, from what launchers leave in the environment."""

import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks.place import Place, local_rank, place

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
MPICH = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
SRUN = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}


@pytest.mark.parametrize(
    ("environment", "meeting"), [(TORCHRUN, "address"), (OPEN_MPI, "mpi"), (MPICH, "mpi"), (SRUN, "mpi")]
)
def test_each_launcher_is_understood(environment: dict[str, str], meeting: str) -> None:
    found = place(environment)
    assert (found.rank, found.size, found.local_rank, found.meeting) == (5, 8, 1, meeting)
    assert local_rank(environment) == 1


def test_slurms_local_rank_stands_in_where_mpi_has_none() -> None:
    environment = {"PMI_RANK": "5", "PMI_SIZE": "8", "SLURM_LOCALID": "3"}
    assert (place(environment).local_rank, local_rank(environment)) == (3, 3)


def test_nothing_is_said_of_the_local_rank() -> None:
    environment = {"PMI_RANK": "5", "PMI_SIZE": "8"}
    assert local_rank(environment) is None
    assert place(environment).rank == 5


@pytest.mark.parametrize(
    "environment",
    [
        {},
        # a batch script, which is no process of a step
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"},
        {"RANK": "0", "WORLD_SIZE": "1"},
        {"PMI_RANK": "0", "PMI_SIZE": "1"},
        # an interactive step's shell
        {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"},
    ],
)
def test_a_process_alone(environment: dict[str, str]) -> None:
    assert place(environment) == Place()


@pytest.mark.parametrize("inner", [TORCHRUN, OPEN_MPI, MPICH])
def test_what_slurm_started_may_have_started_the_ranks(inner: dict[str, str]) -> None:
    slurm = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"}
    found = place({**slurm, **inner})
    assert (found.rank, found.size, found.local_rank) == (5, 8, 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"RANK": "8"}, "RANK is 8 and WORLD_SIZE is 8, which contradict each other: ranks are counted from 0 to 7"),
        ({"RANK": "-1"}, "RANK is '-1' in the environment: it must be a whole number from 0 up"),
        ({"RANK": ""}, "RANK is '' in the environment: it must be a whole number from 0 up"),
        ({"RANK": "1_0"}, "RANK is '1_0' in the environment: it must be a whole number from 0 up"),
        ({"RANK": "\u0663"}, "it must be a whole number from 0 up"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0' in the environment: it must be a whole number from 1 up"),
        ({"WORLD_SIZE": "9" * 5000}, "it must be a whole number from 1 up"),
        ({"WORLD_SIZE": "999999999"}, "WORLD_SIZE is 999999999: at most 65536 processes can be one run"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x' in the environment: it must be a whole number from 0 up"),
        ({"LOCAL_RANK": "6"}, "the local rank, 6, is larger than RANK, 5"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        place({**TORCHRUN, **changes})
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(("there", "lacking"), [("RANK", "WORLD_SIZE"), ("WORLD_SIZE", "RANK")])
def test_half_of_torchruns_variables(there: str, lacking: str) -> None:
    with pytest.raises(UserError, match=f"{there} is set in the environment and {lacking} is not: set both"):
        place({there: "1"})
