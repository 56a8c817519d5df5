"""How the processes of a run find one another, each started by itself."""

import atexit
import faulthandler
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.common.version import __version__
from ttfs_cupy.ranks.beginning import bounded
from ttfs_cupy.ranks.door import Door, RefusedError, come, reason_of
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.place import Place, local_rank
from ttfs_cupy.ranks.star import Star
from ttfs_cupy.ranks.watch import SECONDS, Seconds, Watch

__all__ = ["SECONDS", "RefusedError", "join"]

MPI4PY = ("mpi4py, by which the processes of mpirun and srun meet,", "pip install 'ttfs-cupy[mpi]'")
# bytes of what rank 0 tells by MPI
MOST = 1 << 12
LAST_PORT = (1 << 16) - 1
# A wire's own connection is needed only where there is no MPI to carry gradients between CPUs.
CONTROL, PULSE, LINK = "control", "pulse", "link"
# Of MPICH and its relatives: in which the processes of a machine meet
SEGMENTS = "/dev/shm/mpich_"


def join(here: Place, environment: Mapping[str, str] = os.environ, seconds: Seconds = SECONDS) -> Star:
    """Waits for all other processes of this run, of which there are some. here: what `place` says of this one.

    Raises UserError where the environment is contradictory, where mpi4py or MPI is missing, or where the others do not
    come in time (seconds.meeting, seconds.late), or do not fit. MPI itself waits for all as it begins: if they do not
    come within seconds.meeting, this process says so and ends by SIGTERM, as by Ctrl-C meanwhile.
    """
    return _by_mpi(here, environment, seconds) if here.meeting == "mpi" else _by_address(here, environment, seconds)


def _by_mpi(here: Place, environment: Mapping[str, str], seconds: Seconds) -> Star:
    mpi4py = imported("mpi4py", *MPI4PY)
    mpi4py.rc.finalize = False
    waits = (
        f"rank {here.rank} of {here.size} has waited {seconds.meeting:g} s for MPI to begin, which waits for all: "
        "a rank was killed or never started, still imports from a slow disk, or MPI cannot reach its machine; the "
        "launcher's messages may say which"
    )
    with bounded(seconds.meeting, waits):
        mpi, door, invitation = _invited(here)
    if "trouble" in invitation:
        raise UserError(invitation["trouble"])
    near = invitation["machine"] == Member.here().machine
    addresses = [(host, invitation["port"]) for host in (["127.0.0.1"] if near else []) + invitation["hosts"]]
    key = bytes.fromhex(invitation["key"])
    group = _met(here, environment, door, addresses, key, (CONTROL, PULSE), seconds)
    forget_names()
    group.finalize = lambda: _finalize(mpi, group.watch, seconds.grace)
    # whatever the end
    atexit.register(group.finalize)
    return group


def _invited(here: Place) -> tuple[Any, Door | None, dict[str, Any]]:
    """MPI, rank 0's door, and what rank 0 tells of it to all."""
    mpi = _mpi(here)
    door, invitation = None, {}
    if here.rank == 0:
        key = secrets.token_bytes(32)
        try:
            door = Door("", 0, key)
            invitation = {"key": key.hex(), "port": door.port, "hosts": _own_hosts(), "machine": Member.here().machine}
        except OSError as error:
            invitation = {"trouble": f"rank 0 cannot listen for the others: {reason_of(error)}"}
    buffer = bytearray(json.dumps(invitation).encode().ljust(MOST))
    mpi.COMM_WORLD.Bcast([buffer, mpi.BYTE], root=0)
    return mpi, door, json.loads(buffer)


def _mpi(here: Place) -> Any:
    """mpi4py's MPI, begun. It is ended by this room alone: Python's end would wait for ranks that are lost."""
    try:
        mpi = imported("mpi4py.MPI", *MPI4PY)
    except RuntimeError as error:
        # mpi4py's wheel looks for an MPI as it is imported
        raise UserError(
            f"mpi4py finds no MPI ({message_of(error)}): load your cluster's module, or {MPI4PY[1]}, which brings one"
        ) from error
    rank, size = mpi.COMM_WORLD.Get_rank(), mpi.COMM_WORLD.Get_size()
    if (rank, size) != (here.rank, here.size):
        library = mpi.Get_library_version().split("\n")[0].strip("\0 ")
        raise UserError(
            f"this process is rank {here.rank} of {here.size} for what started it, and rank {rank} of {size} for MPI "
            f"({shown(library)}): start it by that MPI's own mpirun, or by srun --mpi=pmi2 or --mpi=pmix, whichever "
            "this MPI is built for (srun --mpi=list)"
        )
    return mpi


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


def _finalize(mpi: Any, watch: Watch, seconds: float) -> None:
    """Ends MPI, once: mpirun takes a process that ends without for one that has failed, and kills the others.

    It waits for all ranks: one that is lost never comes, and one that comes no further ends this process after some
    seconds. A thread of Python's could not do that, as mpi4py keeps the global lock.
    """
    if mpi.Is_finalized() or (watch.loss is not None and watch.loss.is_sudden):
        return
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        mpi.Finalize()
        faulthandler.cancel_dump_traceback_later()


def _by_address(here: Place, environment: Mapping[str, str], seconds: Seconds) -> Star:
    host, port = _master(environment)
    # nobody else knows it, and no secret: it tells runs apart
    about = json.dumps(["ttfs_cupy", host, port, environment.get("TORCHELASTIC_RUN_ID", "")])
    key = hashlib.sha256(about.encode()).digest()
    door = None
    if here.rank == 0:
        try:
            door = Door(host if _is_loopback(host) else "", port, key)
        except OSError as error:
            raise UserError(
                f"rank 0 cannot listen at port {port} ({reason_of(error)}): end what uses it, or name another one in "
                "MASTER_PORT, for all ranks"
            ) from None
    kinds = (CONTROL, PULSE, LINK)
    return _met(here, environment, door, [(host, port)], key, kinds, seconds)


def _met(
    here: Place,
    environment: Mapping[str, str],
    door: Door | None,
    addresses: list[tuple[str, int]],
    key: bytes,
    kinds: tuple[str, ...],
    seconds: Seconds,
) -> Star:
    """door: at rank 0, which closes it."""
    own = Member.here()
    if door is not None:
        try:
            guests = door.admit(own, here.size, kinds, seconds.meeting, seconds.late)
        finally:
            door.close()
        members = [own, *(guest.member for guest in guests)]
        by_kind = {kind: {rank: guest.connections[kind] for rank, guest in enumerate(guests, 1)} for kind in kinds}
    else:
        greeting = {"rank": here.rank, "size": here.size, "version": __version__, "member": [*vars(own).values()]}
        connections, members = come(addresses, key, greeting, kinds, seconds.meeting)
        by_kind = {kind: {0: connection} for kind, connection in connections.items()}
    near = [rank for rank, member in enumerate(members) if member.machine == own.machine]
    said = local_rank(environment)
    here = replace(here, local_size=len(near), local_rank=near.index(here.rank) if said is None else said)
    watch = Watch(here.rank, members, by_kind[PULSE], seconds)
    group = Star(here, members, by_kind[CONTROL], by_kind.get(LINK, {}), watch)
    watch.start()
    return group


def _master(environment: Mapping[str, str]) -> tuple[str, int]:
    host, port = environment.get("MASTER_ADDR", ""), environment.get("MASTER_PORT", "")
    if not host or not port:
        lacking = "MASTER_ADDR" if not host else "MASTER_PORT"
        raise UserError(
            f"RANK and WORLD_SIZE are set in the environment and {lacking} is not: set it to "
            f"{'the name of the machine of rank 0' if not host else 'a free port there'}, for all ranks"
        )
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= LAST_PORT):
        raise UserError(f"MASTER_PORT is {shown(port)} in the environment: it must be a port, from 1 to {LAST_PORT}")
    number = int(port)
    if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun listens there itself
        number += 1 if number < LAST_PORT else -1
    return host, number


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _own_hosts() -> list[str]:
    """The names and numbers by which other machines may reach this one, the likeliest first."""
    numbers = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not _is_loopback(address.address)
    ]
    return [socket.gethostname(), *numbers][:20]
