"""One rank's part of every batch, where several processes train one network."""

from __future__ import annotations

from dataclasses import dataclass

from ttfs_cupy.common.checks import check_count


@dataclass(frozen=True)
class Share:
    """Rank `rank` of `ranks`. Raises UserError unless 0 <= rank < ranks.

    A batch's images go to the ranks in their order, as evenly as can be: of n images each rank has n // ranks, and each
    of the first n % ranks one more. So a batch of fewer images than ranks leaves the last ones without any.
    """

    rank: int
    ranks: int

    def __post_init__(self) -> None:
        check_count("ranks", self.ranks)
        check_count("rank", self.rank, least=0, most=self.ranks - 1)

    def count(self, images: int) -> int:
        """How many images of a batch are this rank's."""
        return images // self.ranks + (self.rank < images % self.ranks)

    def first(self, images: int) -> int:
        """Behind how many images of a batch this rank's begin."""
        return self.rank * (images // self.ranks) + min(self.rank, images % self.ranks)

    def most(self, batch_size: int) -> int:
        """The largest count of any rank, which is rank 0's, for batches of up to so many images."""
        return -(-batch_size // self.ranks)


WHOLE = Share(0, 1)
