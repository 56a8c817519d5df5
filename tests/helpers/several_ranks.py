"""`ttfs-train` over several processes of this machine, as torchrun's variables start it."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from helpers.children import Child
from helpers.commands import Outcome
from helpers.ports import free_port
from ttfs_cupy import train as train_command


def launched(
    size: int, folder: Path, *arguments: str | Path, at_rank: Mapping[int, Sequence[str | Path]] | None = None
) -> list[Child]:
    """The ranks, in their order, which have begun. folder: takes what they say; rank 0 works in it, and the others in
    folders of their own, as on other machines. at_rank: other arguments, for some."""
    port = free_port()
    return [
        Child(_command(rank, size, port, (at_rank or {}).get(rank, arguments), folder), folder / f"rank-{rank}")
        for rank in range(size)
    ]


def trained(
    size: int, folder: Path, *arguments: str | Path, at_rank: Mapping[int, Sequence[str | Path]] | None = None
) -> list[Outcome]:
    """What they leave, by rank."""
    return [child.wait() for child in launched(size, folder, *arguments, at_rank=at_rank)]


def spoken(outcomes: Sequence[Outcome]) -> Outcome:
    """Rank 0's, where the others have said nothing and ended by the same code."""
    first, *others = outcomes
    assert all(other == Outcome(first.code, "", "") for other in others), others
    return first


def _command(rank: int, size: int, port: int, arguments: Sequence[str | Path], folder: Path) -> Callable[[], int]:
    def work() -> int:
        told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in told.items()})
        os.chdir(folder / f"rank-{rank}" if rank else folder)
        return train_command.main([str(argument) for argument in arguments])

    return work
