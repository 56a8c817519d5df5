// Winograd convolution, F(4x4, 3x3), stride 1 (Lavin and Gray, 2016): an output tile of 4x4 from an input tile of 6x6 by
// 36 multiplications instead of 144. In one dimension y = At [(G g) * (Bt d)], by polynomial interpolation at the points
// 0, +-a, +-b and infinity. Points a = 1/sqrt(2), b = sqrt(2) instead of the usual 1 and 2 make the rounding error about
// a quarter: measured against float64 on earliness, 3e-6 where the usual points give 1e-5.
//
//   Bt = | 1   0  -5/2   0   1   0 |    rows 1 to 4 are even +- odd parts:  d4 - 2 d2   +-  a (d3 - 2 d1)
//        | 0 ...                   |                                         d4 - d2/2   +-  b (d3 - d1/2)
//        | 0   1   0  -5/2   0   1 |
//   G rows: (1, p, p^2) / f_p with f = 1, -3/2, -3/2, 6, 6, and (0, 0, 1).    At row k: p^k, and infinity in the last.
//
// The weight gradient is F(3x3, 4x4) with the same points: the 4x4 tile of the gradient takes G's place, and At has three
// rows. Positions of a transformed tile are numbered 0 to 35, row by row; transformed arrays are (36, rows, channels).
// A tile's number is (image, tile_y, tile_x). zeros: at least `channels` zeros, read where a tile overhangs the image.
// Called by ttfs_cupy/convolution/winograd.py.

#define WINOGRAD_A 0.70710678118654752f
#define WINOGRAD_B 1.41421356237309505f

struct Six {
    float v0, v1, v2, v3, v4, v5;
};

DEVICE Six input_transform(float d0, float d1, float d2, float d3, float d4, float d5) {
    const float even_a = d4 - 2.0f * d2, odd_a = WINOGRAD_A * (d3 - 2.0f * d1);
    const float even_b = d4 - 0.5f * d2, odd_b = WINOGRAD_B * (d3 - 0.5f * d1);
    return {d0 - 2.5f * d2 + d4, even_a + odd_a, even_a - odd_a,
            even_b + odd_b,      even_b - odd_b, d1 - 2.5f * d3 + d5};
}

DEVICE Six weight_transform(float g0, float g1, float g2) {
    const float even_a = (g0 + 0.5f * g2) / -1.5f, odd_a = WINOGRAD_A * g1 / -1.5f;
    const float even_b = (g0 + 2.0f * g2) / 6.0f, odd_b = WINOGRAD_B * g1 / 6.0f;
    return {g0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g2};
}

// The transpose of the output transform: powers of the points times a column of four.
DEVICE Six gradient_transform(float c0, float c1, float c2, float c3) {
    const float even_a = c0 + 0.5f * c2, odd_a = WINOGRAD_A * (c1 + 0.5f * c3);
    const float even_b = c0 + 2.0f * c2, odd_b = WINOGRAD_B * (c1 + 2.0f * c3);
    return {c0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, c3};
}

struct Four {
    float v0, v1, v2, v3;
};

DEVICE Four output_transform(float m0, float m1, float m2, float m3, float m4, float m5) {
    const float sum_a = m1 + m2, difference_a = WINOGRAD_A * (m1 - m2);
    const float sum_b = m3 + m4, difference_b = WINOGRAD_B * (m3 - m4);
    return {m0 + sum_a + sum_b, difference_a + difference_b, 0.5f * sum_a + 2.0f * sum_b,
            0.5f * difference_a + 2.0f * difference_b + m5};
}

struct Three {
    float v0, v1, v2;
};

// Three rows of At, the f of G divided out here, once per weight, instead of once per tile.
DEVICE Three weight_gradient_transform(float m0, float m1, float m2, float m3, float m4, float m5) {
    const float sum_a = (m1 + m2) / -1.5f, difference_a = WINOGRAD_A * (m1 - m2) / -1.5f;
    const float sum_b = (m3 + m4) / 6.0f, difference_b = WINOGRAD_B * (m3 - m4) / 6.0f;
    return {m0 + sum_a + sum_b, difference_a + difference_b, 0.5f * sum_a + 2.0f * sum_b + m5};
}

// Six columns of six, each transformed already, are transformed along the rows and stored position by position.
DEVICE void store_rows(float* __restrict__ target, long long step, Six c0, Six c1, Six c2, Six c3, Six c4, Six c5) {
#define STORE_ROW(row, element)                                                                                \
    {                                                                                                          \
        const Six out = input_transform(c0.element, c1.element, c2.element, c3.element, c4.element, c5.element); \
        target[(row * 6 + 0) * step] = out.v0;                                                                 \
        target[(row * 6 + 1) * step] = out.v1;                                                                 \
        target[(row * 6 + 2) * step] = out.v2;                                                                 \
        target[(row * 6 + 3) * step] = out.v3;                                                                 \
        target[(row * 6 + 4) * step] = out.v4;                                                                 \
        target[(row * 6 + 5) * step] = out.v5;                                                                 \
    }
    STORE_ROW(0, v0) STORE_ROW(1, v1) STORE_ROW(2, v2) STORE_ROW(3, v3) STORE_ROW(4, v4) STORE_ROW(5, v5)
#undef STORE_ROW
}

// One transformed value needs the whole 6x6 tile of its channel: pixels holds the 36 places to read it from.
#define TILE_COLUMN(read, x) \
    input_transform(read(x), read(6 + x), read(12 + x), read(18 + x), read(24 + x), read(30 + x))
#define TILE_COLUMNS(read)                                                                                      \
    TILE_COLUMN(read, 0), TILE_COLUMN(read, 1), TILE_COLUMN(read, 2), TILE_COLUMN(read, 3), TILE_COLUMN(read, 4), \
        TILE_COLUMN(read, 5)

// images (N, in_h, in_w, channels) -> transformed (36, halves * tiles, channels) of `tiles` tiles from first_tile; with
// has_mask, the second half of the rows is the transformed mask x != 0. A tile begins at (4 y - padding_h, 4 x - padding_w).
KERNEL void winograd_input(const float* __restrict__ images, const float* __restrict__ zeros,
                           float* __restrict__ transformed, int first_tile, int tiles, int has_mask, int in_h, int in_w,
                           int channels, int tiles_h, int tiles_w, int padding_h, int padding_w) {
    const long long step = (long long)(has_mask ? 2 : 1) * tiles * channels;
    ROW_LOOP(row, tiles, channels) {
        const int tile = first_tile + row, image = tile / (tiles_h * tiles_w);
        const int top = tile / tiles_w % tiles_h * 4 - padding_h, left = tile % tiles_w * 4 - padding_w;
        const float* pixels[36];
        for (int position = 0; position < 36; ++position) {
            const int y = top + position / 6, x = left + position % 6;
            const bool inside = y >= 0 && y < in_h && x >= 0 && x < in_w;
            pixels[position] = inside ? images + ((long long)(image * in_h + y) * in_w + x) * channels : zeros;
        }
        float* __restrict__ target = transformed + (long long)row * channels;
#define VALUE(position) pixels[position][c]
#define MASK(position) (pixels[position][c] != 0.0f ? 1.0f : 0.0f)
        COLUMN_LOOP(c, channels) store_rows(target + c, step, TILE_COLUMNS(VALUE));
        if (has_mask) {
            float* __restrict__ mask = target + (long long)tiles * channels;
            COLUMN_LOOP(c, channels) store_rows(mask + c, step, TILE_COLUMNS(MASK));
        }
#undef VALUE
#undef MASK
    }
}

// (3, 3, in, out) -> (36, in, out). flipped: the kernel turned by 180 degrees, for the data gradient.
KERNEL void winograd_weights(const float* __restrict__ weights, float* __restrict__ transformed, int flipped, int count) {
    GRID_LOOP(i, count) {
        const float* __restrict__ w = weights + (flipped ? 8LL * count : 0) + i;
        const long long tap = flipped ? -(long long)count : count;
        const Six c0 = weight_transform(w[0], w[3 * tap], w[6 * tap]);
        const Six c1 = weight_transform(w[tap], w[4 * tap], w[7 * tap]);
        const Six c2 = weight_transform(w[2 * tap], w[5 * tap], w[8 * tap]);
        float* __restrict__ target = transformed + i;
#define WEIGHT_ROW(row, element)                                                     \
    {                                                                                \
        const Six out = weight_transform(c0.element, c1.element, c2.element);        \
        target[(row * 6 + 0LL) * count] = out.v0, target[(row * 6 + 1LL) * count] = out.v1; \
        target[(row * 6 + 2LL) * count] = out.v2, target[(row * 6 + 3LL) * count] = out.v3; \
        target[(row * 6 + 4LL) * count] = out.v4, target[(row * 6 + 5LL) * count] = out.v5; \
    }
        WEIGHT_ROW(0, v0) WEIGHT_ROW(1, v1) WEIGHT_ROW(2, v2) WEIGHT_ROW(3, v3) WEIGHT_ROW(4, v4) WEIGHT_ROW(5, v5)
#undef WEIGHT_ROW
    }
}

// products (36, rows, channels) -> tiles (rows, 16, channels): the 4x4 outputs of each row's tile.
KERNEL void winograd_output(const float* __restrict__ products, float* __restrict__ tiles, int rows, int channels) {
    const long long step = (long long)rows * channels;
    ROW_LOOP(row, rows, channels) {
        const float* __restrict__ source = products + (long long)row * channels;
        float* __restrict__ target = tiles + (long long)row * 16 * channels;
        COLUMN_LOOP(c, channels) {
            const float* __restrict__ m = source + c;
            float* __restrict__ y = target + c;
#define OUTPUT_COLUMN(x)                                                                                            \
    output_transform(m[(0 + x) * step], m[(6 + x) * step], m[(12 + x) * step], m[(18 + x) * step], m[(24 + x) * step], \
                     m[(30 + x) * step])
            const Four c0 = OUTPUT_COLUMN(0), c1 = OUTPUT_COLUMN(1), c2 = OUTPUT_COLUMN(2), c3 = OUTPUT_COLUMN(3),
                       c4 = OUTPUT_COLUMN(4), c5 = OUTPUT_COLUMN(5);
#define OUTPUT_ROW(row, element)                                                                                     \
    {                                                                                                                \
        const Four out = output_transform(c0.element, c1.element, c2.element, c3.element, c4.element, c5.element);   \
        y[(row * 4 + 0) * channels] = out.v0, y[(row * 4 + 1) * channels] = out.v1;                                  \
        y[(row * 4 + 2) * channels] = out.v2, y[(row * 4 + 3) * channels] = out.v3;                                  \
    }
            OUTPUT_ROW(0, v0) OUTPUT_ROW(1, v1) OUTPUT_ROW(2, v2) OUTPUT_ROW(3, v3)
#undef OUTPUT_COLUMN
#undef OUTPUT_ROW
        }
    }
}

// spiked[pixel] = 1 where any channel of the pixel is not silent, else 0.
KERNEL void find_spikes(const float* __restrict__ images, float* __restrict__ spiked, int pixels, int channels) {
    GRID_LOOP(pixel, pixels) {
        const float* __restrict__ values = images + (long long)pixel * channels;
        int spikes = 0;
        for (int c = 0; c < channels; ++c) spikes += values[c] != 0.0f;
        spiked[pixel] = spikes > 0 ? 1.0f : 0.0f;
    }
}

// An output that sees no spike has A = S = 0 exactly, and is silent. Rounding would leave some 1e-7 where another part
// of its tile has spikes, the neuron would fire, and everything above would count it with a whole weight. So the pixels
// of such outputs, (halves, tiles, 16, channels), are set to 0; spiked (N, in_h, in_w) is find_spikes's.
KERNEL void silence_unreached(float* __restrict__ tile_pixels, const float* __restrict__ spiked, int first_tile,
                              int tiles, int halves, int in_h, int in_w, int channels, int tiles_h, int tiles_w,
                              int padding_h, int padding_w) {
    ROW_LOOP(row, halves * tiles * 16, channels) {
        const int pixel = row % (tiles * 16), tile = first_tile + pixel / 16, image = tile / (tiles_h * tiles_w);
        const int top = tile / tiles_w % tiles_h * 4 + pixel % 16 / 4 - padding_h;
        const int left = tile % tiles_w * 4 + pixel % 4 - padding_w;
        bool reached = false;
        for (int tap = 0; tap < 9; ++tap) {
            const int y = top + tap / 3, x = left + tap % 3;
            const bool inside = y >= 0 && y < in_h && x >= 0 && x < in_w;
            reached = reached || (inside && spiked[(image * in_h + y) * in_w + x] != 0.0f);
        }
        if (!reached) {
            float* __restrict__ target = tile_pixels + (long long)row * channels;
            COLUMN_LOOP(c, channels) target[c] = 0.0f;
        }
    }
}

// tiles (tiles, 16, channels), from first_tile on, to their places in images (N, height, width, channels); what
// overhangs the image is dropped.
KERNEL void place_tiles(const float* __restrict__ tile_pixels, float* __restrict__ images, int first_tile, int tiles,
                        int height, int width, int channels, int tiles_h, int tiles_w) {
    ROW_LOOP(pixel, tiles * 16, channels) {
        const int tile = first_tile + pixel / 16, image = tile / (tiles_h * tiles_w);
        const int y = tile / tiles_w % tiles_h * 4 + pixel % 16 / 4, x = tile % tiles_w * 4 + pixel % 4;
        if (y < height && x < width) {
            const float* __restrict__ source = tile_pixels + (long long)pixel * channels;
            float* __restrict__ target = images + ((long long)(image * height + y) * width + x) * channels;
            COLUMN_LOOP(c, channels) target[c] = source[c];
        }
    }
}

// grads (N, height, width, channels) -> rows first_row to first_row + tiles of transformed (36, all_rows, channels).
KERNEL void winograd_gradient(const float* __restrict__ grads, const float* __restrict__ zeros,
                              float* __restrict__ transformed, int first_tile, int tiles, int first_row, int all_rows,
                              int height, int width, int channels, int tiles_h, int tiles_w) {
    const long long step = (long long)all_rows * channels;
    ROW_LOOP(row, tiles, channels) {
        const int tile = first_tile + row, image = tile / (tiles_h * tiles_w);
        const int top = tile / tiles_w % tiles_h * 4, left = tile % tiles_w * 4;
        const float* pixels[16];
        for (int position = 0; position < 16; ++position) {
            const int y = top + position / 4, x = left + position % 4;
            pixels[position] = y < height && x < width
                                   ? grads + ((long long)(image * height + y) * width + x) * channels
                                   : zeros;
        }
        float* __restrict__ target = transformed + (long long)(first_row + row) * channels;
        COLUMN_LOOP(c, channels) {
            float* __restrict__ z = target + c;
#define GRADIENT_COLUMN(x) \
    gradient_transform(pixels[x][c], pixels[4 + x][c], pixels[8 + x][c], pixels[12 + x][c])
            const Six c0 = GRADIENT_COLUMN(0), c1 = GRADIENT_COLUMN(1), c2 = GRADIENT_COLUMN(2), c3 = GRADIENT_COLUMN(3);
#define GRADIENT_ROW(row, element)                                                                      \
    {                                                                                                   \
        const Six out = gradient_transform(c0.element, c1.element, c2.element, c3.element);             \
        z[(row * 6 + 0) * step] = out.v0, z[(row * 6 + 1) * step] = out.v1, z[(row * 6 + 2) * step] = out.v2; \
        z[(row * 6 + 3) * step] = out.v3, z[(row * 6 + 4) * step] = out.v4, z[(row * 6 + 5) * step] = out.v5; \
    }
            GRADIENT_ROW(0, v0) GRADIENT_ROW(1, v1) GRADIENT_ROW(2, v2)
            GRADIENT_ROW(3, v3) GRADIENT_ROW(4, v4) GRADIENT_ROW(5, v5)
#undef GRADIENT_COLUMN
#undef GRADIENT_ROW
        }
    }
}

// sums (36, in, out) over all tiles -> the gradient of the weights, (3, 3, in, out); count = in * out.
KERNEL void winograd_weight_gradient(const float* __restrict__ sums, float* __restrict__ grad_weights, int count) {
    GRID_LOOP(i, count) {
        const float* __restrict__ m = sums + i;
        const long long step = count;
#define SUM_COLUMN(x)                                                                                         \
    weight_gradient_transform(m[(0 + x) * step], m[(6 + x) * step], m[(12 + x) * step], m[(18 + x) * step],   \
                              m[(24 + x) * step], m[(30 + x) * step])
        const Three c0 = SUM_COLUMN(0), c1 = SUM_COLUMN(1), c2 = SUM_COLUMN(2), c3 = SUM_COLUMN(3), c4 = SUM_COLUMN(4),
                    c5 = SUM_COLUMN(5);
#define SUM_ROW(row, element)                                                                                       \
    {                                                                                                               \
        const Three out =                                                                                           \
            weight_gradient_transform(c0.element, c1.element, c2.element, c3.element, c4.element, c5.element);      \
        grad_weights[(row * 3 + 0) * step + i] = out.v0, grad_weights[(row * 3 + 1) * step + i] = out.v1;           \
        grad_weights[(row * 3 + 2) * step + i] = out.v2;                                                            \
    }
        SUM_ROW(0, v0) SUM_ROW(1, v1) SUM_ROW(2, v2)
#undef SUM_COLUMN
#undef SUM_ROW
    }
}
