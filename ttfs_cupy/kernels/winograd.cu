// Winograd convolution, F(4x4, 3x3), stride 1 (Lavin and Gray, 2016): an output tile of 4x4 from an input tile of 6x6 by
// 36 multiplications instead of 144. In one dimension y = At [(G g) * (Bt d)], by polynomial interpolation at the points
// 0, infinity, +-a, +-b, in this order. Points a = 1/sqrt(2), b = sqrt(2) instead of the usual 1 and 2 make the rounding
// error about a quarter: measured against float64 on earliness, 3e-6 where the usual points give 1e-5.
//
//   Bt rows:  0: d0 - 5/2 d2 + d4    infinity: d1 - 5/2 d3 + d5    +-a: (d4 - 2 d2) +- a (d3 - 2 d1)
//             +-b: (d4 - d2/2) +- b (d3 - d1/2)
//   G rows: (1, p, p^2) / f_p with f = 1, -3/2, -3/2, 6, 6, and (0, 0, 1) at infinity.    At row k: p^k; the last one
//   has 1 at infinity.
//
// Where an image's side is no multiple of 4, its last tiles are of size 3 or 2 instead of overhanging: they interpolate at
// the first 5 or 4 of the same points. What differs in f is put into their Bt, so that all sizes share the transformed
// weights, and add to the same sums in the weight gradient.
//
// The weight gradient is F(3x3, 4x4) with the same points: the 4x4 tile of the gradient takes G's place, and At has three
// rows. Transformed arrays are matrices (rows, channels) one after the other, one for each position (point, point) of the
// tile, row by row; or in panels of columns, (panels, rows, panel), what is beyond the last column being 0. `step` floats
// lie between the matrices of two positions. Called by ttfs_cupy/convolution/winograd.py.

DEVICE void input_strip(const float* __restrict__ images, const TilePixels& tile, float* __restrict__ target,
                        float* __restrict__ mask_target, long long step, int channels, int tile_h, int tile_w, int column,
                        int lanes) {
    const Lanes zero = broadcast(0.0f), one = broadcast(1.0f);
    Lanes values[36];
    for (int y = 0; y < tile_h + 2; ++y) {
        for (int x = 0; x < tile_w + 2; ++x) {
            const int pixel = tile.pixels[6 * y + x];
            const float* __restrict__ const from = images + (long long)pixel * channels + column;
            values[6 * y + x] = pixel == OUTSIDE ? zero : load(from, lanes);
            if (pixel != OUTSIDE) PREFETCH(from + LANES);
        }
    }
    store_input_tile(values, target + column, step, tile_h, tile_w, lanes);
    if (mask_target) {
        for (int y = 0; y < tile_h + 2; ++y) {
            for (int x = 0; x < tile_w + 2; ++x) values[6 * y + x] = values[6 * y + x] != zero ? one : zero;
        }
        store_input_tile(values, mask_target + column, step, tile_h, tile_w, lanes);
    }
}

// images (N, in_h, in_w, channels) -> transformed (positions, halves * tiles, channels) of `tiles` tiles from first_tile;
// with has_mask, the second half of the rows is the transformed mask x != 0. (top, left): the first pixel that the grid's
// first tile reads.
KERNEL void winograd_input(const float* __restrict__ images, float* __restrict__ transformed, int step, int first_tile,
                           int tiles, int has_mask, int in_h, int in_w, int channels, int tiles_h, int tiles_w, int size_h,
                           int size_w, int top, int left) {
    const TileGrid grid = {tiles_h, tiles_w, size_h, size_w, top, left};
    ROW_LOOP(row, tiles, channels) {
        const TilePlace place = place_of_tile(grid, first_tile + row);
        const TilePixels tile = pixels_of_tile(place, size_h + 2, size_w + 2, in_h, in_w);
        float* __restrict__ target = transformed + (long long)row * channels;
        float* __restrict__ mask = has_mask ? target + (long long)tiles * channels : nullptr;
        FOR_TILE_SIZE(size_h, size_w, EACH_STRIP(column, channels,
                      input_strip(images, tile, target, mask, step, channels, tile_h, tile_w, column, lanes)))
    }
}

// For LANES rows of the depth: with `turned` the weights lie along it, so that a square of them is loaded and turned.
DEVICE void weight_strip(const float* __restrict__ weights, float* __restrict__ target, long long step, int turned,
                         int first_depth, int depth, int columns, int panel, int column, int lanes) {
    float square[9][LANES][LANES];
    const int inside = columns - column < lanes ? columns - column : lanes;
    const int count = depth - first_depth < LANES ? depth - first_depth : LANES;
    for (int tap = 0; tap < 9; ++tap) {
        if (turned) {
            // the tap on the other side, from weights (taps, columns, depth)
            const float* __restrict__ source = weights + ((long long)(8 - tap) * columns + column) * depth + first_depth;
            for (int lane = 0; lane < LANES; ++lane) {
                store(square[tap][lane], lane < inside ? load(source + (long long)lane * depth, count) : broadcast(0.0f),
                      LANES);
            }
        } else {
            const float* __restrict__ source = weights + ((long long)tap * depth + first_depth) * columns + column;
            for (int i = 0; i < count; ++i) store(square[tap][i], load(source + (long long)i * columns, inside), LANES);
        }
    }
    for (int i = 0; i < count; ++i) {
        Lanes taps[9], halfway[18], row[6];
        for (int tap = 0; tap < 9; ++tap) {
            taps[tap] = turned ? load_strided(square[tap][0] + i, LANES) : load(square[tap][i], LANES);
        }
        for (int x = 0; x < 3; ++x) weight_transform(taps + x, 3, halfway + x, 3);
        for (int y = 0; y < 6; ++y) {
            weight_transform(halfway + 3 * y, 1, row, 1);
            store_row(target + i * panel + 6 * y * step, step, row, 6, lanes);
        }
    }
}

// weights (3, 3, depth, columns) -> transformed (36, panels, depth, panel). turned, for the data gradient: weights are
// (3, 3, columns, depth), and the kernel is turned by 180 degrees.
KERNEL void winograd_weights(const float* __restrict__ weights, float* __restrict__ transformed, int step, int turned,
                             int depth, int columns, int panel) {
    const int panels = (columns + panel - 1) / panel, blocks = (depth + LANES - 1) / LANES;
    ROW_LOOP(row, panels * blocks, panel) {
        const int first = row / blocks * panel, first_depth = row % blocks * LANES;
        float* __restrict__ target = transformed + ((long long)(row / blocks) * depth + first_depth) * panel;
        EACH_STRIP(column, panel,
                   weight_strip(weights, target + column, step, turned, first_depth, depth, columns, panel, first + column,
                                lanes))
    }
}

// Bit 4 y + x is set where one of the nine pixels that the tile's output (y, x) sees has a spike.
DEVICE int reached_outputs(const float* __restrict__ spiked, const TilePixels& seen, int size_h, int size_w) {
    int spikes[6];  // a bit for each pixel of a row
    for (int y = 0; y < size_h + 2; ++y) {
        spikes[y] = 0;
        for (int x = 0; x < size_w + 2; ++x) {
            const int pixel = seen.pixels[6 * y + x];
            if (pixel != OUTSIDE && spiked[pixel] != 0.0f) spikes[y] |= 1 << x;
        }
    }
    int reached = 0;
    for (int y = 0; y < size_h; ++y) {
        const int rows = spikes[y] | spikes[y + 1] | spikes[y + 2];
        reached |= ((rows | rows >> 1 | rows >> 2) & 15) << 4 * y;
    }
    return reached;
}

// Where the neurons of a tile go: every one, or (winner is not null) the earliest of each 2x2 window.
struct Fired {
    float *earliness, *weight_sum;
    unsigned char* winner;
    int height, width, channels;
};

DEVICE void store_neurons(const Fired& to, Lanes x, Lanes s, long long at, int lanes) {
    store(to.earliness + at, x, lanes);
    if (to.weight_sum) store(to.weight_sum + at, s, lanes);
}

// The earliest spike of four neurons (the first of x, the next, and those four further), its weight sum, and which it is,
// or 255 if all are silent. The first wins a tie.
DEVICE void store_earliest(const Fired& to, const Lanes* x, const Lanes* s, long long at, int lanes) {
    Lanes best = x[0], sum = s[0];
    LaneNumbers winner = best > broadcast(0.0f) ? broadcast(0) : broadcast(255);
    for (int place = 1; place < 4; ++place) {
        const int i = place / 2 * 4 + place % 2;
        const auto earlier = x[i] > best;
        best = earlier ? x[i] : best;
        sum = earlier ? s[i] : sum;
        winner = earlier ? broadcast(place) : winner;
    }
    store_neurons(to, best, sum, at, lanes);
    store(to.winner + at, winner, lanes);
}

DEVICE void fire_strip(const float* __restrict__ drive, const float* __restrict__ sum, long long step, int reached,
                       float slope, float scale, float t_win, const float* __restrict__ initial, const Fired& to,
                       TilePlace place, int tile_h, int tile_w, int column, int lanes) {
    Lanes a[16], s[16], x[16];
    load_output_tile(drive + column, step, a, tile_h, tile_w, lanes);
    if (sum) load_output_tile(sum + column, step, s, tile_h, tile_w, lanes);
    for (int y = 0; y < tile_h; ++y) {
        for (int i = 4 * y; i < 4 * y + tile_w; ++i) {
            const float seen = reached >> i & 1 ? 1.0f : 0.0f;
            s[i] = sum ? seen * s[i] : broadcast(0.0f);
            a[i] = seen * a[i];
            if (!initial) x[i] = earliness_of<Lanes>(scale * a[i], s[i], slope, t_win);
        }
    }
    if (initial) {
        const Lanes more = t_win * load(initial + column, lanes);
        for (int y = 0; y < tile_h; ++y) {
            for (int i = 4 * y; i < 4 * y + tile_w; ++i) x[i] = earliness_of<Lanes>(scale * a[i] + more, s[i], slope, t_win);
        }
    }
    const int shrink = to.winner ? 1 : 0, height = to.height >> shrink, width = to.width >> shrink;
    for (int y = 0; y < tile_h >> shrink; ++y) {
        for (int across = 0; across < tile_w >> shrink; ++across) {
            const int top = (place.top >> shrink) + y, left = (place.left >> shrink) + across;
            if (top >= height || left >= width) continue;
            const long long at = ((long long)(place.image * height + top) * width + left) * to.channels + column;
            const int i = (4 * y + across) << shrink;
            if (to.winner) {
                store_earliest(to, x + i, s + i, at, lanes);
            } else {
                store_neurons(to, x[i], s[i], at, lanes);
            }
        }
    }
}

// products (positions, halves * tiles, channels) of tiles from first_tile -> the neurons' earliness and, unless null,
// their weight_sum, (N, height, width, channels). With winner, both are pooled as they leave: the arrays are of half the
// height and width, and winner holds the position of the earliest spike in its 2x2 window; (top, left) is even then.
// Without has_mask psp_slope is 0.
//
// An output that sees no spike has A = S = 0 exactly, and is silent without an initial potential. Rounding would leave some 1e-7 where another part of
// its tile has spikes, the neuron would fire, and everything above would count it with a whole weight. So what spiked
// (N, in_h, in_w), find_spikes's, does not reach is set to 0; a kernel's padding says which pixels an output sees.
KERNEL void winograd_fire(const float* __restrict__ products, int step, const float* __restrict__ spiked,
                          const float* __restrict__ psp_slope, float scale, float t_win,
                          const float* __restrict__ OPTIONAL initial, int has_mask, float* __restrict__ earliness,
                          float* __restrict__ OPTIONAL weight_sum, unsigned char* __restrict__ OPTIONAL winner,
                          int first_tile, int tiles, int in_h, int in_w,
                          int padding_h, int padding_w, int height, int width, int channels, int tiles_h, int tiles_w,
                          int size_h, int size_w, int top, int left) {
    const float slope = has_mask ? *psp_slope : 0.0f;
    const Fired to = {earliness, weight_sum, winner, height, width, channels};
    const TileGrid grid = {tiles_h, tiles_w, size_h, size_w, top, left};
    ROW_LOOP(row, tiles, channels) {
        const TilePlace place = place_of_tile(grid, first_tile + row);
        const TilePlace seen = {place.image, place.top - padding_h, place.left - padding_w};
        const TilePixels pixels = pixels_of_tile(seen, size_h + 2, size_w + 2, in_h, in_w);
        const int reached = reached_outputs(spiked, pixels, size_h, size_w);
        const float* __restrict__ drive = products + (long long)row * channels;
        const float* __restrict__ sum = has_mask ? drive + (long long)tiles * channels : nullptr;
        FOR_TILE_SIZE(size_h, size_w, EACH_STRIP(column, channels,
                      fire_strip(drive, sum, step, reached, slope, scale, t_win, initial, to, place, tile_h, tile_w, column,
                                 lanes)))
    }
}

// The neurons of a tile as load_gradient reads them, 6 to a row: pooled or not.
DEVICE TilePixels neurons_of_tile(const Spikes& of, TilePlace place, int rows, int columns) {
    TilePixels tile;
    for (int y = 0; y < rows; ++y) {
        for (int x = 0; x < columns; ++x) tile.pixels[6 * y + x] = neuron_at(of, place.image, place.top + y, place.left + x);
    }
    return tile;
}

DEVICE void drive_gradient_strip(const Spikes& of, const TilePixels& tile, TilePlace place, float* __restrict__ target,
                                 long long step, int tile_h, int tile_w, int column, int lanes) {
    Lanes values[36];
    for (int y = 0; y < tile_h + 2; ++y) {
        for (int x = 0; x < tile_w + 2; ++x) {
            const int in_window = place_in_window(place.top + y, place.left + x);
            values[6 * y + x] = load_gradient(of, tile.pixels[6 * y + x], in_window, column, lanes).to_drive;
        }
    }
    store_input_tile(values, target + column, step, tile_h, tile_w, lanes);
}

// For the data gradient: dLoss/dA as winograd_input transforms images, its values formed as they enter, (positions,
// tiles, channels). grad, earliness, weight_sum (null where psp_slope is 0) and winner as winograd_fire left them.
KERNEL void winograd_drive_gradient(const float* __restrict__ grad, const float* __restrict__ earliness,
                                    const float* __restrict__ OPTIONAL weight_sum,
                                    const unsigned char* __restrict__ OPTIONAL winner,
                                    const float* __restrict__ psp_slope, float scale, float t_win, float grad_clip,
                                    int separate, float* __restrict__ transformed, int step, int first_tile, int tiles,
                                    int height, int width, int channels, int tiles_h, int tiles_w, int size_h, int size_w,
                                    int top, int left) {
    const SpikeDerivative derivative = {weight_sum ? *psp_slope : 0.0f, scale, t_win, grad_clip, separate != 0};
    const Spikes of = {grad, earliness, weight_sum ? weight_sum : earliness, winner, height, width, channels, derivative};
    const TileGrid grid = {tiles_h, tiles_w, size_h, size_w, top, left};
    ROW_LOOP(row, tiles, channels) {
        const TilePlace place = place_of_tile(grid, first_tile + row);
        const TilePixels tile = neurons_of_tile(of, place, size_h + 2, size_w + 2);
        float* __restrict__ target = transformed + (long long)row * channels;
        FOR_TILE_SIZE(size_h, size_w, EACH_STRIP(column, channels,
                      drive_gradient_strip(of, tile, place, target, step, tile_h, tile_w, column, lanes)))
    }
}

DEVICE void place_strip(const float* __restrict__ products, long long step, float* __restrict__ images, TilePlace place,
                        int height, int width, int channels, int tile_h, int tile_w, int column, int lanes) {
    Lanes values[16];
    load_output_tile(products + column, step, values, tile_h, tile_w, lanes);
    for (int y = 0; y < tile_h; ++y) {
        for (int x = 0; x < tile_w; ++x) {
            const int top = place.top + y, left = place.left + x;
            if (top >= height || left >= width) continue;
            const long long at = ((long long)(place.image * height + top) * width + left) * channels + column;
            store(images + at, values[4 * y + x], lanes);
        }
    }
}

// products (positions, tiles, channels) of tiles from first_tile -> images (N, height, width, channels); what overhangs
// the image is dropped.
KERNEL void winograd_output(const float* __restrict__ products, int step, float* __restrict__ images, int first_tile,
                            int tiles, int height, int width, int channels, int tiles_h, int tiles_w, int size_h,
                            int size_w, int top, int left) {
    const TileGrid grid = {tiles_h, tiles_w, size_h, size_w, top, left};
    ROW_LOOP(row, tiles, channels) {
        const TilePlace place = place_of_tile(grid, first_tile + row);
        const float* __restrict__ tile = products + (long long)row * channels;
        FOR_TILE_SIZE(size_h, size_w, EACH_STRIP(column, channels,
                      place_strip(tile, step, images, place, height, width, channels, tile_h, tile_w, column, lanes)))
    }
}

// The values of a tile, 4 to a row.
DEVICE void store_gradient_tile(const Lanes* pixels, float* __restrict__ target, long long step, int tile_h, int tile_w,
                                int lanes) {
    Lanes columns[24], row[6];
    for (int x = 0; x < tile_w; ++x) gradient_transform(pixels + x, 4, columns + x, 4, tile_h);
    for (int y = 0; y < tile_h + 2; ++y) {
        gradient_transform(columns + 4 * y, 1, row, 1, tile_w);
        store_row(target + y * (tile_w + 2) * step, step, row, tile_w + 2, lanes);
    }
}

// A strip of a panel, which may reach beyond the last channel.
DEVICE void gradient_strip(const Spikes& of, const TilePixels& tile, TilePlace place, float* __restrict__ target,
                           float* __restrict__ sum_target, long long step, int tile_h, int tile_w, int column, int lanes) {
    Lanes to_drive[16], to_sum[16];
    const int rest = of.channels - column, inside = rest >= lanes ? lanes : rest > 0 ? rest : 0;
    for (int y = 0; y < tile_h; ++y) {
        for (int x = 0; x < tile_w; ++x) {
            const int neuron = inside > 0 ? tile.pixels[6 * y + x] : OUTSIDE;
            const int in_window = place_in_window(place.top + y, place.left + x);
            const Outgoing<Lanes> outgoing = inside == lanes ? load_gradient(of, neuron, in_window, column, lanes)
                                                             : load_gradient(of, neuron, in_window, column, inside);
            to_drive[4 * y + x] = outgoing.to_drive;
            to_sum[4 * y + x] = outgoing.to_sum;
        }
    }
    store_gradient_tile(to_drive, target, step, tile_h, tile_w, lanes);
    if (sum_target) store_gradient_tile(to_sum, sum_target, step, tile_h, tile_w, lanes);
}

// For the weight gradient: tiles of dLoss/dA and, with has_sum, below them those of dLoss/dS, in panels of columns:
// transformed (positions, panels, halves * tiles, panel). The rest as in winograd_drive_gradient.
KERNEL void winograd_gradient(const float* __restrict__ grad, const float* __restrict__ earliness,
                              const float* __restrict__ OPTIONAL weight_sum,
                              const unsigned char* __restrict__ OPTIONAL winner, const float* __restrict__ psp_slope,
                              float scale, float t_win, float grad_clip, int separate, float* __restrict__ transformed,
                              int step, int first_tile, int tiles, int has_sum, int height, int width, int channels,
                              int panel, int tiles_h, int tiles_w, int size_h, int size_w, int top, int left) {
    const int panels = (channels + panel - 1) / panel, rows = (has_sum ? 2 : 1) * tiles;
    const SpikeDerivative derivative = {weight_sum ? *psp_slope : 0.0f, scale, t_win, grad_clip, separate != 0};
    const Spikes of = {grad, earliness, weight_sum ? weight_sum : earliness, winner, height, width, channels, derivative};
    const TileGrid grid = {tiles_h, tiles_w, size_h, size_w, top, left};
    ROW_LOOP(row, tiles * panels, panel) {
        const int number = row / panels, first = row % panels * panel;
        const TilePlace place = place_of_tile(grid, first_tile + number);
        const TilePixels tile = neurons_of_tile(of, place, size_h, size_w);
        float* __restrict__ target = transformed + ((long long)(row % panels) * rows + number) * panel;
        float* __restrict__ sum = has_sum ? target + (long long)tiles * panel : nullptr;
        FOR_TILE_SIZE(size_h, size_w, EACH_STRIP(column, panel,
                      gradient_strip(of, tile, place, target + column, sum ? sum + column : nullptr, step, tile_h, tile_w,
                                     first + column, lanes)))
    }
}

DEVICE void weight_gradient_strip(const float* __restrict__ sums, long long step, int groups, float rounding,
                                  float* __restrict__ grad_weights, long long grad_step, int lanes) {
    const Lanes zero = broadcast(0.0f);
    Lanes column[6], size[6], columns[18], sizes[18], row[3], least[3];
    for (int x = 0; x < 6; ++x) {
        for (int y = 0; y < 6; ++y) {
            const float* __restrict__ const sum = sums + (6 * y + x) * step;
            column[y] = load(sum, lanes);
            for (int group = 1; group < groups; ++group) column[y] += load(sum + group * 36 * step, lanes);
            size[y] = rounding * at_least(column[y], -column[y]);
        }
        weight_gradient_transform(column, columns + x, 6);
        weight_gradient_sizes(size, sizes + x, 6);
    }
    for (int y = 0; y < 3; ++y) {
        weight_gradient_transform(columns + 6 * y, row, 1);
        weight_gradient_sizes(sizes + 6 * y, least, 1);
        for (int x = 0; x < 3; ++x) {
            // NaN is less than nothing, and stays
            const auto is_rounding = at_least(row[x], -row[x]) < least[x];
            store(grad_weights + (3 * y + x) * grad_step, is_rounding ? zero : row[x], lanes);
        }
    }
}

// sums (groups, 36, rows, columns) over each group of tiles -> the gradient of the weights, (3, 3, rows, columns).
//
// Where no spiking input meets a neuron that passes gradient on, the gradient is 0, but what the sums of a tile leave of it
// is their rounding, which Adam would make steps of. So what is smaller than `rounding` times the sizes of all that it is
// added up from is 0.
KERNEL void winograd_weight_gradient(const float* __restrict__ sums, float* __restrict__ grad_weights, int step, int groups,
                                     float rounding, int rows, int columns) {
    const long long grad_step = (long long)rows * columns;
    ROW_LOOP(row, rows, columns) {
        const long long first = (long long)row * columns;
        EACH_STRIP(column, columns, weight_gradient_strip(sums + first + column, step, groups, rounding,
                                                          grad_weights + first + column, grad_step, lanes))
    }
}
