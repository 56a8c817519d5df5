// Forward of a first layer: A = sum w x and, for the same loads of w and x, S = sum w m with m = (x != 0), in float32; the
// neurons' rule on them (neuron.h); and 2x2 pooling. One read of the images, one write of what the layer leaves.
//
// A thread has 2x2 pixels, which share most of what they see: a window, where pooling follows.
//
// Constants: those of first_layer.h; INITIAL, 1 where channels begin with a potential (docs/model.md, "Initial potential"),
// 0 if it is not given. Called by ttfs_cupy/convolution/first_layer.py.

#include "first_layer.h"

#ifndef INITIAL
#define INITIAL 0
#endif

// Output channels between two rows of the weights in shared memory: the most that a block has.
#define WEIGHT_PITCH 128

// What a window sees of a line, in floats, in whole pairs. Windows start at a pair.
#define SEEN (((STRIDE_W + KERNEL_W) * CHANNELS + 1) / 2 * 2)

// Of a window's pixels, 4 channels each.
typedef float WindowSums[4][4];

DEVICE void load_weights(const float* __restrict__ weights, float* to, int first_channel, int count, int channels) {
    for (int i = threadIdx.x; i < PATCH * WEIGHT_PITCH; i += THREADS) {
        const int place = i / WEIGHT_PITCH, channel = i % WEIGHT_PITCH;
        const bool there = channel < count && first_channel + channel < channels;
        to[i] = there ? weights[place * channels + first_channel + channel] : 0.0f;
    }
}

// halo: where the window's first pixel begins to see; weights: of the thread's first channel.
DEVICE void sum_patches(const float* halo, int halo_pitch, const float* weights, WindowSums& drive, WindowSums& sum) {
#pragma unroll
    for (int i = 0; i < 16; ++i) drive[i / 4][i % 4] = sum[i / 4][i % 4] = 0.0f;
#pragma unroll
    for (int y = 0; y < KERNEL_H; ++y) {
        float seen[2][SEEN];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
            const float2* const line = (const float2*)(halo + (row * STRIDE_H + y) * halo_pitch);
#pragma unroll
            for (int i = 0; i < SEEN / 2; ++i) {
                const float2 pair = line[i];
                seen[row][2 * i] = pair.x, seen[row][2 * i + 1] = pair.y;
            }
        }
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) {
#pragma unroll
            for (int x = 0; x < KERNEL_W; ++x) {
                const float4 piece = *(const float4*)(weights + ((y * KERNEL_W + x) * CHANNELS + c) * WEIGHT_PITCH);
                const float w[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
                for (int pixel = 0; pixel < 4; ++pixel) {
                    const float value = seen[pixel / 2][(pixel % 2 * STRIDE_W + x) * CHANNELS + c];
                    const float mask = mask_of(value);
#pragma unroll
                    for (int k = 0; k < 4; ++k) {
                        drive[pixel][k] += value * w[k];
                        if (HAS_SUM) sum[pixel][k] += mask * w[k];
                    }
                }
            }
        }
    }
}

struct Fired {
    float* earliness;
    float* weight_sum;
    unsigned char* winner;
    int height, width, channels;  // after pooling, if there is any
};

DEVICE void store_pixels(const Fired& to, int image, int y, int x, int channel, const WindowSums& output,
                         const WindowSums& sum) {
    const int count = to.channels - channel;
#pragma unroll
    for (int pixel = 0; pixel < 4; ++pixel) {
        const int row = y + pixel / 2, column = x + pixel % 2;
        if (row < to.height && column < to.width) {
            const long long at = ((long long)(image * to.height + row) * to.width + column) * to.channels + channel;
            store_channels(to.earliness + at, output[pixel], count);
            if (to.weight_sum) store_channels(to.weight_sum + at, sum[pixel], count);
        }
    }
}

// The earliest spike's; at a tie, the first place's.
DEVICE void store_winner(const Fired& to, int image, int y, int x, int channel, const WindowSums& output,
                         const WindowSums& sum) {
    if (y >= to.height || x >= to.width) return;
    const int count = to.channels - channel;
    float earliest[4], its_sum[4];
    unsigned places = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        earliest[k] = output[0][k], its_sum[k] = sum[0][k];
        unsigned place = 0;
#pragma unroll
        for (unsigned other = 1; other < 4; ++other) {
            const bool earlier = output[other][k] > earliest[k];
            place = earlier ? other : place;
            its_sum[k] = earlier ? sum[other][k] : its_sum[k];
            earliest[k] = earlier ? output[other][k] : earliest[k];
        }
        places |= (earliest[k] > 0.0f ? place : 255u) << 8 * k;
    }
    const long long at = ((long long)(image * to.height + y) * to.width + x) * to.channels + channel;
    store_channels(to.earliness + at, earliest, count);
    if (to.weight_sum) store_channels(to.weight_sum + at, its_sum, count);
    if (VECTOR == 4) {
        *(unsigned*)(to.winner + at) = places;
    } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (k < count) to.winner[at + k] = (unsigned char)(places >> 8 * k);
        }
    }
}

// images (N, height, width, CHANNELS), weights (KERNEL_H, KERNEL_W, CHANNELS, out_channels) -> earliness, or (FIRES is 0)
// membrane potentials, (N, out_h, out_w, out_channels), and unless null their weight_sum. POOLED: all three are of 2x2
// windows, of the earliest spike and its place in the window (winner), 255 if all are silent.
// initial: with INITIAL, potentials that channels begin with. A block has a tile and 4 lanes channels.
KERNEL void __launch_bounds__(THREADS, 2) first_layer_forward(
    const float* __restrict__ images, const float* __restrict__ weights, const float* __restrict__ psp_slope, float scale,
    float t_win, const float* __restrict__ OPTIONAL initial, float* __restrict__ earliness,
    float* __restrict__ OPTIONAL weight_sum, unsigned char* __restrict__ OPTIONAL winner, int out_channels, int lanes, int tiles_down, int tiles_across,
    int tile_height, int tile_width, int halo_pitch, int height, int width, int padding_h, int padding_w, int out_h,
    int out_w) {
    const Tiles tiles = {tiles_down, tiles_across, tile_height, tile_width, halo_pitch};
    const int channel_blocks = (out_channels + 4 * lanes - 1) / (4 * lanes);
    const int first_channel = blockIdx.x % channel_blocks * 4 * lanes;
    const Tile tile = tile_of(tiles, blockIdx.x / channel_blocks);
    float *const block_weights = (float*)dynamic_shared, *const halo = block_weights + PATCH * WEIGHT_PITCH;
    load_weights(weights, block_weights, first_channel, 4 * lanes, out_channels);
    load_halo({images, height, width, padding_h, padding_w}, tiles, tile, halo);
    __syncthreads();

    const int lane = threadIdx.x % lanes, channel = first_channel + 4 * lane, at_once = THREADS / lanes;
    if (channel >= out_channels || threadIdx.x >= at_once * lanes) return;
    const Fired to = {earliness, weight_sum, winner, POOLED ? out_h / 2 : out_h, POOLED ? out_w / 2 : out_w, out_channels};
    const float slope = HAS_SUM ? *psp_slope : 0.0f;
    const int windows_across = tile_width / 2, windows = tile_height / 2 * windows_across;
    for (int window = threadIdx.x / lanes; window < windows; window += at_once) {
        // or the compiler reads all weights into registers before the loop, more than there are
        asm volatile("" ::: "memory");
        const int y = window / windows_across * 2, x = window % windows_across * 2;
        WindowSums drive, sum;
        const float* const seen = halo + y * STRIDE_H * halo_pitch + x * STRIDE_W * CHANNELS;
        sum_patches(seen, halo_pitch, block_weights + 4 * lane, drive, sum);
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            float a = scale * drive[i / 4][i % 4];
            if (INITIAL && channel + i % 4 < out_channels) a += t_win * initial[channel + i % 4];
            const float s = sum[i / 4][i % 4];
            drive[i / 4][i % 4] = FIRES ? earliness_of<float>(a, s, slope, t_win) : a + slope * t_win * s;
        }
        if (POOLED) {
            store_winner(to, tile.image, (tile.y + y) / 2, (tile.x + x) / 2, channel, drive, sum);
        } else {
            store_pixels(to, tile.image, tile.y + y, tile.x + x, channel, drive, sum);
        }
    }
}
