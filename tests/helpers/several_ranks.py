"""A command over several processes of this machine, as torchrun's variables start it."""

import faulthandler
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from helpers.children import Child
from helpers.commands import Outcome
from helpers.ports import free_port
from ttfs_cupy import train as train_command

# A process that lasts longer, in seconds, is one that has no end.
LONGEST = 300
Command = Callable[[list[str]], int]


@contextmanager
def launched(
    size: int,
    folder: Path,
    *arguments: str | Path,
    at_rank: Mapping[int, Sequence[str | Path]] | None = None,
    command: Command = train_command.main,
) -> Iterator[list[Child]]:
    """The ranks, in their order, which have begun; none outlives the block. folder: takes what they say; rank 0 works
    in it, and the others in folders of their own, as on other machines. at_rank: other arguments, for some."""
    port = free_port()
    with ExitStack() as ends:
        children = []
        for rank in range(size):
            work = _work(command, rank, size, port, (at_rank or {}).get(rank, arguments), folder)
            children.append(Child(work, folder / f"rank-{rank}"))
            ends.callback(children[-1].end)
        yield children


def trained(
    size: int,
    folder: Path,
    *arguments: str | Path,
    at_rank: Mapping[int, Sequence[str | Path]] | None = None,
    command: Command = train_command.main,
) -> list[Outcome]:
    """What they leave, by rank."""
    with launched(size, folder, *arguments, at_rank=at_rank, command=command) as children:
        return [child.wait() for child in children]


def spoken(outcomes: Sequence[Outcome]) -> Outcome:
    """Rank 0's, where the others have said nothing and ended by the same code."""
    first, *others = outcomes
    assert all(other == Outcome(first.code, "", "") for other in others), others
    return first


def _work(
    command: Command, rank: int, size: int, port: int, arguments: Sequence[str | Path], folder: Path
) -> Callable[[], int]:
    def work() -> int:
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in told.items()})
        os.chdir(folder / f"rank-{rank}" if rank else folder)
        return command([str(argument) for argument in arguments])

    return work
