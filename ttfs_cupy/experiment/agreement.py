"""What the ranks of a run find out together: what rank 0 has read, and whether all are of one mind."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.version import __version__
from ttfs_cupy.experiment.config import Config, changes
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.ranks.group import Group

T = TypeVar("T")

# of a fingerprint (data/split.py), what messages call each part
_PARTS = {
    "training_images": "number of training images",
    "test_images": "number of test images",
    "labels": "digest of all labels",
    "pixels": "digest of all pixels",
    "held_out": "set of images held out for validation",
    "subset": "set of training images (data.subset)",
}


def told(group: Group, find: Callable[[], T]) -> T:
    """What rank 0 finds, at all ranks: a value that JSON holds."""
    found: T = group.broadcast(find() if group.rank == 0 else None)
    return found


def in_turns(group: Group, work: Callable[[], T]) -> T:
    """Has rank 0 do it, then one rank of each other machine, then the others: what is downloaded and decoded is there
    for those who come later, on a shared disk also for other machines."""
    turn = 0 if group.rank == 0 else 1 if group.place.local_rank == 0 else 2
    for _ in range(turn):
        group.gather(None)
    found = work()
    for _ in range(turn, 2):
        group.gather(None)
    return found


@contextmanager
def interrupted_together(group: Group) -> Iterator[None]:
    """A signal that has ended another rank while this block ran interrupts it here, too (KeyboardInterrupt)."""
    try:
        yield
    except Exception:
        # whatever it was, it follows from that
        if not group.interrupted_by:
            raise
        interruption.of_another_process(group.interrupted_by)
        raise KeyboardInterrupt from None


def require_same_command(group: Group, command: str, options: Sequence[str] = ()) -> None:
    """Raises UserError, at all ranks, that names what of the program and the command line is another at one of them."""
    group.require_same({"version of ttfs_cupy": __version__, "command": command, "options": list(options)})


def require_same_config(group: Group, config: Config) -> None:
    """Raises UserError, at all ranks, that names the rank and the key where a config is another."""
    group.require_same({f"value of {key}": value for key, value in changes.leaves(config)})


def require_same_data(group: Group, fingerprint: Mapping[str, Any]) -> None:
    """Raises UserError, at all ranks, that names the rank and the part of the data where they are others."""
    group.require_same({_PARTS.get(key, key): value for key, value in fingerprint.items()})


def require_same_weights(group: Group, when: str, arrays: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Raises UserError, at all ranks, where one has other weights, or another optimiser's state, than rank 0.

    when: a part of the sentence. arrays: gives them by name; asked for with several ranks alone.
    """
    if group.size == 1:
        return
    digests = group.gather(checkpoint.digest_of(arrays(), {}))
    for rank, digest in enumerate(digests):
        if digest != digests[0]:
            raise UserError(
                f"the weights of {group.members[rank].named(rank)} are no longer rank 0's {when}: the two began with "
                "other weights, or compute differently, and are not one run; use machines of one kind with the same "
                "files, and look at that one's memory and device"
            )
