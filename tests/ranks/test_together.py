"""How a command of several processes ends: each rank a process, as torchrun's variables or mpirun start it."""

import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from helpers import rank_script
from helpers.mpirun import needs_mpi, ran
from helpers.ports import free_port
from helpers.processes import ends, started
from helpers.waiting import wait_until

import ttfs_cupy
from ttfs_cupy.ranks.group import ALONE
from ttfs_cupy.ranks.together import together

SCRIPT = [sys.executable, "-m", rank_script.__name__]
# Until the last process has ended: an interpreter's start, and what rank_script.SECONDS has.
LONGEST = 40.0


@dataclass(frozen=True)
class Ended:
    """What a rank left, and how many seconds after the start of all it had ended."""

    process: int
    code: int
    out: str
    err: str


def run(size: int, *acts: str, dead: int | None = None, last_counts: int | None = None) -> list[Ended]:
    """Ranks that act so. dead: one that does not end by itself, and is killed after the others. last_counts: how
    many ranks the last one takes for all, if not size."""
    port = free_port()
    ranks = []
    for rank in range(size):
        count = last_counts if last_counts and rank == size - 1 else size
        ranks.append(started([*SCRIPT, *acts], {**here(), **variables(rank, count, port)}))
    ended = {}
    try:
        for rank in sorted(range(size), key=lambda rank: rank == dead):
            process = ranks[rank]
            if rank == dead:
                process.kill()
            out, err = process.communicate(timeout=LONGEST)
            ended[rank] = Ended(process.pid, process.returncode, out, err)
    finally:
        for process in ranks:
            process.kill()
    return [ended[rank] for rank in range(size)]


def variables(rank: int, size: int, port: int) -> dict[str, str]:
    values = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in values.items()}


def here() -> dict[str, str]:
    """The environment of a process that imports what this one does, and that no launcher has started."""
    launchers = re.compile("RANK|LOCAL_RANK|WORLD_SIZE|MASTER_|OMPI_|PMI_|SLURM_|TORCHELASTIC_")
    kept = {name: value for name, value in os.environ.items() if not launchers.match(name)}
    places = [Path(ttfs_cupy.__file__).parents[1], Path(rank_script.__file__).parents[1]]
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, places))}


def said(ranks: Sequence[Ended]) -> str:
    """What all say on standard error, without colours: which is to be one rank's."""
    return "".join(rank.err for rank in ranks)


def test_alone_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert together(lambda group: 7 if group is ALONE else 0) == 7


def test_an_orderly_end() -> None:
    ranks = run(3, "1:nothing")
    assert [rank.code for rank in ranks] == [7] * 3
    place, processes = json.loads(ranks[0].out)
    assert place == {"rank": 0, "size": 3, "local_rank": 0, "local_size": 3, "meeting": "address"}
    assert processes == [rank.process for rank in ranks]
    assert (said(ranks), ranks[1].out, ranks[2].out) == ("", "", "")


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_killed_rank_is_named_once(rank: int) -> None:
    ranks = run(3, f"{rank}:dies")
    codes = [each.code for each in ranks]
    assert codes == [-signal.SIGKILL if number == rank else 2 for number in range(3)]
    name = f"rank {rank} ({socket.gethostname()}, process {ranks[rank].process})"
    first = 0 if rank else 1
    assert ranks[first].err.startswith(f"error: {name} has ended without a word: it was killed, or its machine or")
    assert said(ranks) == ranks[first].err
    assert said(ranks).count("\n") == 1


def test_who_dies_with_rank_0_does_not_have_to_say_it() -> None:
    ranks = run(3, "0:dies", "1:dies")
    assert [each.code for each in ranks] == [-signal.SIGKILL, -signal.SIGKILL, 2]
    assert "has ended without a word" in said(ranks)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_is_silent(rank: int) -> None:
    ranks = run(3, f"{rank}:stops", dead=rank)
    name = f"rank {rank} ({socket.gethostname()}, process {ranks[rank].process})"
    assert said(ranks) == (f"error: {name} has said nothing for 2 s: it is stopped or hangs, or the network is down\n")
    assert [each.code for number, each in enumerate(ranks) if number != rank] == [2, 2]


def test_another_ranks_mistake_is_told_by_rank_0() -> None:
    ranks = run(3, "2:fails")
    assert [rank.code for rank in ranks] == [2, 2, 2]
    name = f"rank 2 ({socket.gethostname()}, process {ranks[2].process})"
    assert ranks[0].err == f"error: {name} has ended: the data are not here\n"
    assert ranks[1].err == ranks[2].err == ""


@pytest.mark.parametrize("acts", ["0:fails", "all:fails"])
def test_rank_0s_mistake_is_told_as_ever(acts: str) -> None:
    ranks = run(2, acts)
    assert [(rank.code, rank.err) for rank in ranks] == [(2, "error: the data are not here\n"), (2, "")]


def test_ranks_that_do_not_fit_are_refused_once() -> None:
    ranks = run(2, last_counts=3)
    assert ranks[1].err == ""
    assert re.fullmatch(r"error: rank 1 \(.*\) is one of 3 ranks and rank 0 \(.*\) one of 2: start .*\n", ranks[0].err)
    assert [rank.code for rank in ranks] == [2, 2]


def test_what_differs_is_told_once() -> None:
    ranks = run(3, "2:differs")
    host = socket.gethostname()
    names = [f"rank {number} ({host}, process {rank.process})" for number, rank in enumerate(ranks)]
    assert said(ranks) == f"error: {names[2]} has another data set than {names[0]}: 'mnist', not 'fmnist'\n"
    assert ranks[0].err
    assert [rank.code for rank in ranks] == [2, 2, 2]


def test_a_bugs_traceback_comes_from_where_it_is() -> None:
    ranks = run(2, "1:errs")
    assert "has ended: ZeroDivisionError: a bug" in ranks[0].err
    assert "Traceback" not in ranks[0].err
    assert ranks[1].err.startswith("Traceback")
    assert [rank.code for rank in ranks] == [2, 1]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_at_one_rank_interrupts_all(rank: int) -> None:
    ranks = run(2, f"{rank}:is_interrupted")
    assert [each.err for each in ranks] == ["interrupted\n", ""]
    # rank 0 was told of the other's signal, not sent it
    assert [each.code for each in ranks] == [128 + signal.SIGTERM] * 2


def test_ctrl_c_while_ranks_meet_is_told_once() -> None:
    """A terminal's reaches all of them."""
    port = free_port()
    ranks = [started(SCRIPT, {**here(), **variables(rank, 3, port)}) for rank in range(2)]
    try:
        # rank 0 waits for the third, and rank 1 has come
        wait_until(lambda: connections(ranks[1].pid) == 3)
        # to both at once, as neither goes on in between
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGCONT):
            for process in ranks:
                process.send_signal(number)
        ended = [process.communicate(timeout=LONGEST) for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [130, 130]
    assert ended == [("", "interrupted\n"), ("", "")]


def connections(process: int) -> int:
    found = psutil.Process(process).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in found)


def test_a_rank_that_hangs_as_another_dies_is_ended() -> None:
    before = time.monotonic()
    ranks = run(3, "2:dies", "1:hangs")
    assert [rank.code for rank in ranks] == [2, 2, -signal.SIGKILL]
    # not after the minute for which it hangs
    assert time.monotonic() < before + LONGEST


def test_children_of_a_killed_rank_do_not_hide_its_end() -> None:
    ranks = run(2, "1:leaves")
    found = re.match(r"children (\d+) (\d+)", ranks[1].out)
    assert found is not None
    for child in found.groups():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
        assert ends(int(child))
    # by its closed connection: its silence would be told otherwise
    assert "process" in ranks[0].err
    assert "has ended without a word" in ranks[0].err


@needs_mpi
class TestMpi:
    """Other processes may be ended by mpirun itself as soon as one has ended."""

    def run(self, *acts: str, size: int = 3) -> "subprocess.CompletedProcess[str]":
        return ran(size, *SCRIPT[1:], *acts)

    def test_an_orderly_end(self) -> None:
        ended = self.run("1:nothing")
        place, processes = json.loads(ended.stdout)
        assert (ended.returncode, ended.stderr) == (7, "")
        assert place == {"rank": 0, "size": 3, "local_rank": 0, "local_size": 3, "meeting": "mpi"}
        assert len(set(processes)) == 3

    def test_what_a_rank_does_after_an_orderly_end_keeps_nobody_waiting(self) -> None:
        """MPI is ended by then, for which all wait."""
        ended = self.run("0:lingers")
        assert (ended.returncode, ended.stderr) == (7, "")

    @pytest.mark.parametrize("rank", [0, 2])
    def test_a_killed_rank_is_named(self, rank: int) -> None:
        """Unless mpirun is faster, which it is now and then: not each of several times."""
        for _ in range(6):
            ended = self.run(f"{rank}:dies")
            assert ended.returncode
            if re.search(rf"error: rank {rank} \(.*\) has ended without a word", ended.stderr):
                return
        raise AssertionError(ended.stderr)

    def test_a_mistake_is_told_by_rank_0_alone(self) -> None:
        ended = self.run("2:fails")
        assert re.fullmatch(r"error: rank 2 \(.*\) has ended: the data are not here\n", ended.stderr)
        assert (ended.returncode, ended.stdout) == (2, "")

    def test_a_signal_at_one_rank_interrupts_all(self) -> None:
        ended = self.run("1:is_interrupted")
        assert ended.stderr == "interrupted\n"
        assert ended.returncode > 128

    def test_processes_that_mpi_does_not_know(self) -> None:
        """As srun starts them without --mpi: each is one of one for MPI."""
        variables = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3", "SLURM_LOCALID": "1"}
        ended = subprocess.run(
            SCRIPT,
            env={**here(), **variables},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        assert ended.returncode == 2
        assert re.match(
            r"error: this process is rank 1 of 3 for what started it, and rank 0 of 1 for MPI \('.*'\): start it by "
            r"that MPI's own mpirun, or by srun --mpi=pmi2 or --mpi=pmix",
            ended.stderr,
        )


@pytest.mark.skipif(importlib.util.find_spec("mpi4py") is not None, reason="mpi4py is installed")
def test_mpi4py_is_missing() -> None:
    ended = subprocess.run(
        SCRIPT,
        env={**here(), "PMI_RANK": "0", "PMI_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert ended.returncode == 2
    sentence = "mpi4py, by which the processes of mpirun and srun meet, is not installed: pip install 'ttfs-cupy[mpi]'"
    assert ended.stderr == f"error: {sentence}\n"
