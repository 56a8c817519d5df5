"""What a wire says where another rank is gone."""

import time
from typing import NoReturn

from ttfs_cupy.ranks.group import Group, LostRankError

# A wire may see a rank's end before the group does, which names it with its host and process.
SECONDS = 2.0


def raise_lost(group: Group, reason: str) -> NoReturn:
    """Raises LostRankError: the group's own as soon as it has one, otherwise with this reason."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        group.check()
        time.sleep(0.01)
    raise LostRankError(f"the exchange of gradients has ended: {reason}")


def raise_aborted(group: Group) -> NoReturn:
    """The same of a wire that this rank has aborted: for a loss, which the group knows, or as it fails itself."""
    group.check()
    raise LostRankError("the exchange of gradients has ended: it was aborted")
