"""How tiles cover an image."""

import numpy as np
import pytest

from ttfs_cupy.convolution.winograd_tiles import tile_grids


@pytest.mark.parametrize("height", range(1, 15))
@pytest.mark.parametrize("width", [1, 2, 5, 7, 9, 12, 14])
def test_every_output_lies_in_one_tile(height: int, width: int) -> None:
    covered = np.zeros((height + 4, width + 4), int)
    grids = tile_grids(height, width)
    for grid in grids:
        for y in range(grid.count[0]):
            for x in range(grid.count[1]):
                top, left = grid.first[0] + y * grid.size[0], grid.first[1] + x * grid.size[1]
                # a tile may overhang, but no tile is idle; and pooling wants windows of 2x2 in one tile
                assert top < height and left < width and top % 2 == left % 2 == 0
                covered[top : top + grid.size[0], left : left + grid.size[1]] += 1
    assert (covered[:height, :width] == 1).all()
    assert grids[0].size == (4, 4)
    assert len({(grid.size, grid.first) for grid in grids}) == len(grids)


@pytest.mark.parametrize("extent", [2, 3, 5, 6, 7, 9, 10, 11, 13, 14])
def test_windows_of_pooling_never_straddle_tiles(extent: int) -> None:
    starts = {grid.first[0] + y * grid.size[0] for grid in tile_grids(extent, 4) for y in range(grid.count[0])}
    assert all(start % 2 == 0 for start in starts)


def test_small_tiles_spare_products() -> None:
    def products(extent: int) -> int:
        grids = tile_grids(extent, extent)
        return sum(g.count[0] * g.count[1] * g.positions[0] * g.positions[1] for g in grids)

    assert [products(extent) for extent in (7, 8, 14, 28)] == [121, 144, 484, 1764]
