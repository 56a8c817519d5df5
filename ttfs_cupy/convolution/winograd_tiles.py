"""How Winograd's tiles cover an image: regular grids, each of one size of tile."""

from dataclasses import dataclass
from itertools import product

# Pixels that a tile reads beyond its own outputs, for a 3x3 kernel.
BORDER = 2

WHOLE = 4


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one size, side by side, over every image. Pairs are (vertical, horizontal).

    count: tiles of one image. size: of a tile, in outputs. first: the pixel at the first tile's upper left corner.
    """

    count: tuple[int, int]
    size: tuple[int, int]
    first: tuple[int, int]

    @property
    def positions(self) -> tuple[int, int]:
        """Points of interpolation: how many products a tile takes, vertically and horizontally."""
        return self.size[0] + BORDER, self.size[1] + BORDER

    def tiles(self, batch_size: int) -> int:
        return batch_size * self.count[0] * self.count[1]

    def from_pixel(self, padding: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
        """As kernels take it; with padding, by the pixels that its tiles read."""
        return (*self.count, *self.size, self.first[0] - padding[0], self.first[1] - padding[1])


def tile_grids(height: int, width: int) -> list[TileGrid]:
    """The grids that cover an image of outputs, that of whole tiles first."""
    grids = (
        TileGrid(*zip(vertical, horizontal, strict=True))
        for vertical, horizontal in product(_sides(height), _sides(width))
    )
    return sorted(grids, key=lambda grid: -grid.size[0] * grid.size[1])


def whole_tiles(height: int, width: int) -> TileGrid:
    """Whole tiles alone, of which the last ones overhang."""
    return TileGrid((-(-height // WHOLE), -(-width // WHOLE)), (WHOLE, WHOLE), (0, 0))


def _sides(extent: int) -> list[tuple[int, int, int]]:
    """(count, size, first) of the tiles along a side: as many fours as fit, then a two or a three or both.

    Twos come before threes, so that every tile begins at an even pixel, as 2x2 pooling wants it. There always are whole
    tiles, which up to a side of three, and the two that ends a side of five, overhang.
    """
    rest = {0: (), 1: (2, 3), 2: (2,), 3: (3,)}[extent % WHOLE]
    fours = (extent - sum(rest)) // WHOLE
    if fours < 1:
        return [(1, WHOLE, 0), (1, 2, WHOLE)] if extent > WHOLE else [(1, WHOLE, 0)]
    sides, first = [(fours, WHOLE, 0)], fours * WHOLE
    for size in rest:
        sides.append((1, size, first))
        first += size
    return sides
