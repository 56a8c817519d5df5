// What the passes of a first layer share: a layer whose patches have few values, such as one or three channels of 3x3, by
// plain float32 arithmetic. A thread has 4 neighbouring output channels, `lanes` threads those of a block; a block's pixels
// are a rectangle of one image, a tile, and what these see of the image lies in shared memory, the halo.
//
// Constants: CHANNELS (of the images), KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, so that a patch is written out and stays in
// registers; HAS_SUM (0 where psp_slope is 0 and S not needed); FIRES (0 of a readout); POOLED (2x2 pooling is joined);
// VECTOR, 4 where a pixel's output channels can be read and written 4 at a time, else 1; THREADS of a block.

#define PATCH (KERNEL_H * KERNEL_W * CHANNELS)

// How an image's pixels are cut into tiles: how many down and across, and a tile's height and width in pixels. halo_pitch:
// floats between two rows of the halo, even.
struct Tiles {
    int down, across, height, width, halo_pitch;
};

struct Tile {
    int image, y, x;  // of its first pixel
};

DEVICE Tile tile_of(const Tiles& of, int number) {
    return {number / (of.down * of.across), number / of.across % of.down * of.height, number % of.across * of.width};
}

// The images, (N, height, width, CHANNELS).
struct Images {
    const float* values;
    int height, width, padding_h, padding_w;
};

// By all threads of the block; zeros outside the image.
DEVICE void load_halo(const Images& of, const Tiles& tiles, const Tile& tile, float* halo) {
    const int rows = (tiles.height - 1) * STRIDE_H + KERNEL_H, floats = of.width * CHANNELS;
    const int first = (tile.x * STRIDE_W - of.padding_w) * CHANNELS;
    for (int row = threadIdx.x / WARP; row < rows; row += THREADS / WARP) {
        const int y = tile.y * STRIDE_H - of.padding_h + row;
        const bool inside = y >= 0 && y < of.height;
        const float* const from = of.values + ((long long)tile.image * of.height + y) * floats;
        for (int i = threadIdx.x % WARP; i < tiles.halo_pitch; i += WARP) {
            const int at = first + i;
            halo[row * tiles.halo_pitch + i] = inside && at >= 0 && at < floats ? from[at] : 0.0f;
        }
    }
}

DEVICE float mask_of(float value) { return value != 0.0f ? 1.0f : 0.0f; }

// 4 channels of a pixel, of which `count` are there; zeros for the others.
DEVICE void load_channels(float (&to)[4], const float* from, int count) {
    if (VECTOR == 4) {
        const float4 values = *(const float4*)from;
        to[0] = values.x, to[1] = values.y, to[2] = values.z, to[3] = values.w;
    } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) to[k] = k < count ? from[k] : 0.0f;
    }
}

DEVICE void store_channels(float* to, const float (&values)[4], int count) {
    if (VECTOR == 4) {
        *(float4*)to = make_float4(values[0], values[1], values[2], values[3]);
    } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (k < count) to[k] = values[k];
        }
    }
}
