// What the kernels of winograd.cu are made of: transforms in one dimension and of a tile, and where tiles lie. The arithmetic
// is told there.

#define WINOGRAD_A 0.70710678118654752f
#define WINOGRAD_B 1.41421356237309505f

// One-dimensional transforms of a strip of channels at a time, for a tile of that size: d[i * d_step] to t[i * t_step].

DEVICE void input_transform(const Lanes* d, int d_step, Lanes* t, int t_step, int size) {
    const Lanes d0 = d[0], d1 = d[d_step], d2 = d[2 * d_step], d3 = d[3 * d_step];
    if (size == 4) {
        const Lanes d4 = d[4 * d_step], d5 = d[5 * d_step];
        const Lanes even_a = d4 - 2.0f * d2, odd_a = WINOGRAD_A * (d3 - 2.0f * d1);
        const Lanes even_b = d4 - 0.5f * d2, odd_b = WINOGRAD_B * (d3 - 0.5f * d1);
        t[0] = d0 - 2.5f * d2 + d4;
        t[t_step] = d1 - 2.5f * d3 + d5;
        t[2 * t_step] = even_a + odd_a;
        t[3 * t_step] = even_a - odd_a;
        t[4 * t_step] = even_b + odd_b;
        t[5 * t_step] = even_b - odd_b;
    } else if (size == 3) {
        const Lanes odd_b = WINOGRAD_B * (d3 - 0.5f * d1);
        t[0] = d0 - 2.0f * d2 + odd_b;
        t[t_step] = d[4 * d_step] - 0.5f * d2 - odd_b;
        t[2 * t_step] = 1.5f * (WINOGRAD_B * (d3 - d1) - d2);
        t[3 * t_step] = WINOGRAD_A * (d1 + d3) - 1.5f * d2;
        t[4 * t_step] = 2.0f * odd_b;
    } else {
        t[0] = d0 - 2.0f * d2;
        t[t_step] = d3 - 0.5f * d1;
        t[2 * t_step] = -1.5f * (d2 + WINOGRAD_A * d1);
        t[3 * t_step] = -1.5f * (d2 - WINOGRAD_A * d1);
    }
}

DEVICE void weight_transform(const Lanes* g, int g_step, Lanes* t, int t_step) {
    const Lanes g0 = g[0], g1 = g[g_step], g2 = g[2 * g_step];
    const Lanes even_a = (g0 + 0.5f * g2) / -1.5f, odd_a = WINOGRAD_A * g1 / -1.5f;
    const Lanes even_b = (g0 + 2.0f * g2) / 6.0f, odd_b = WINOGRAD_B * g1 / 6.0f;
    t[0] = g0;
    t[t_step] = g2;
    t[2 * t_step] = even_a + odd_a;
    t[3 * t_step] = even_a - odd_a;
    t[4 * t_step] = even_b + odd_b;
    t[5 * t_step] = even_b - odd_b;
}

// The transpose of the output transform: powers of the points times a column of `size`.
DEVICE void gradient_transform(const Lanes* c, int c_step, Lanes* t, int t_step, int size) {
    const Lanes c0 = c[0], c1 = c[c_step];
    t[0] = c0;
    t[t_step] = c[(size - 1) * c_step];
    if (size == 4) {
        const Lanes c2 = c[2 * c_step], c3 = c[3 * c_step];
        const Lanes even_a = c0 + 0.5f * c2, odd_a = WINOGRAD_A * (c1 + 0.5f * c3);
        const Lanes even_b = c0 + 2.0f * c2, odd_b = WINOGRAD_B * (c1 + 2.0f * c3);
        t[2 * t_step] = even_a + odd_a;
        t[3 * t_step] = even_a - odd_a;
        t[4 * t_step] = even_b + odd_b;
        t[5 * t_step] = even_b - odd_b;
    } else if (size == 3) {
        const Lanes c2 = c[2 * c_step];
        const Lanes even_a = c0 + 0.5f * c2, odd_a = WINOGRAD_A * c1;
        t[2 * t_step] = even_a + odd_a;
        t[3 * t_step] = even_a - odd_a;
        t[4 * t_step] = c0 + WINOGRAD_B * c1 + 2.0f * c2;
    } else {
        t[2 * t_step] = c0 + WINOGRAD_A * c1;
        t[3 * t_step] = c0 - WINOGRAD_A * c1;
    }
}

DEVICE void output_transform(const Lanes* m, Lanes* y, int y_step, int size) {
    const Lanes sum_a = m[2] + m[3], difference_a = WINOGRAD_A * (m[2] - m[3]);
    if (size == 4) {
        const Lanes sum_b = m[4] + m[5], difference_b = WINOGRAD_B * (m[4] - m[5]);
        y[0] = m[0] + sum_a + sum_b;
        y[y_step] = difference_a + difference_b;
        y[2 * y_step] = 0.5f * sum_a + 2.0f * sum_b;
        y[3 * y_step] = 0.5f * difference_a + 2.0f * difference_b + m[1];
    } else if (size == 3) {
        y[0] = m[0] + sum_a + m[4];
        y[y_step] = difference_a + WINOGRAD_B * m[4];
        y[2 * y_step] = 0.5f * sum_a + 2.0f * m[4] + m[1];
    } else {
        y[0] = m[0] + sum_a;
        y[y_step] = difference_a + m[1];
    }
}

// Three rows of At, the f of G divided out here, once per weight, instead of once per tile.
DEVICE void weight_gradient_transform(const Lanes* m, Lanes* g, int g_step) {
    const Lanes sum_a = (m[2] + m[3]) / -1.5f, difference_a = WINOGRAD_A * (m[2] - m[3]) / -1.5f;
    const Lanes sum_b = (m[4] + m[5]) / 6.0f, difference_b = WINOGRAD_B * (m[4] - m[5]) / 6.0f;
    g[0] = m[0] + sum_a + sum_b;
    g[g_step] = difference_a + difference_b;
    g[2 * g_step] = 0.5f * sum_a + 2.0f * sum_b + m[1];
}

// What weight_gradient_transform adds up, of the sizes |m|: what its rounding is relative to.
DEVICE void weight_gradient_sizes(const Lanes* m, Lanes* g, int g_step) {
    const Lanes sum_a = (2.0f / 3.0f) * (m[2] + m[3]), sum_b = (1.0f / 6.0f) * (m[4] + m[5]);
    g[0] = m[0] + sum_a + sum_b;
    g[g_step] = WINOGRAD_A * sum_a + WINOGRAD_B * sum_b;
    g[2 * g_step] = 0.5f * sum_a + 2.0f * sum_b + m[1];
}

// Runs a statement with a tile's size as constants, `tile_h` and `tile_w`, where it is the usual one: its loops then
// unroll, and its arrays become registers.
#define FOR_TILE_SIZE(height, width, ...)        \
    if ((height) == 4 && (width) == 4) {         \
        enum { tile_h = 4, tile_w = 4 };         \
        __VA_ARGS__                              \
    } else {                                     \
        const int tile_h = height, tile_w = width; \
        __VA_ARGS__                              \
    }

// The transformed values of a row of positions to their places.
DEVICE void store_row(float* __restrict__ target, long long step, const Lanes* row, int count, int lanes) {
    for (int x = 0; x < count; ++x) store(target + x * step, row[x], lanes);
}

// A regular grid of tiles, all of one size, over every image: tiles are numbered (image, y, x). The first one lies at
// (top, left) of its image.
struct TileGrid {
    int tiles_h, tiles_w, size_h, size_w, top, left;
};

// Where a tile lies: its image, and the pixel at its top left corner.
struct TilePlace {
    int image, top, left;
};

DEVICE TilePlace place_of_tile(const TileGrid& grid, int tile) {
    return {tile / (grid.tiles_h * grid.tiles_w), tile / grid.tiles_w % grid.tiles_h * grid.size_h + grid.top,
            tile % grid.tiles_w * grid.size_w + grid.left};
}

// The pixels that a tile reads, 6 to a row: (image * height + y) * width + x, or OUTSIDE.
struct TilePixels {
    int pixels[36];
};

DEVICE TilePixels pixels_of_tile(TilePlace place, int rows, int columns, int height, int width) {
    TilePixels tile;
    for (int y = 0; y < rows; ++y) {
        for (int x = 0; x < columns; ++x) {
            const int row = place.top + y, column = place.left + x;
            const bool inside = row >= 0 && row < height && column >= 0 && column < width;
            tile.pixels[6 * y + x] = inside ? (place.image * height + row) * width + column : OUTSIDE;
        }
    }
    return tile;
}

// The values of what a tile reads, 6 to a row, transformed to target[position * step].
DEVICE void store_input_tile(const Lanes* pixels, float* __restrict__ target, long long step, int tile_h, int tile_w,
                             int lanes) {
    Lanes columns[36], row[6];
    for (int x = 0; x < tile_w + 2; ++x) input_transform(pixels + x, 6, columns + x, 6, tile_h);
    for (int y = 0; y < tile_h + 2; ++y) {
        input_transform(columns + 6 * y, 1, row, 1, tile_w);
        store_row(target + y * (tile_w + 2) * step, step, row, tile_w + 2, lanes);
    }
}

// The outputs of the products at m[position * step], 4 to a row.
DEVICE void load_output_tile(const float* __restrict__ m, long long step, Lanes* outputs, int tile_h, int tile_w, int lanes) {
    Lanes column[6], columns[24];
    for (int x = 0; x < tile_w + 2; ++x) {
        for (int y = 0; y < tile_h + 2; ++y) {
            const float* __restrict__ const product = m + (y * (tile_w + 2) + x) * step;
            column[y] = load(product, lanes);
            PREFETCH(product + LANES);
        }
        output_transform(column, columns + x, 6, tile_h);
    }
    for (int y = 0; y < tile_h; ++y) output_transform(columns + 6 * y, outputs + 4 * y, 1, tile_w);
}
