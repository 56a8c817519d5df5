// dLoss/dw of a first layer, in float32: of each weight the sum over pixels of x dLoss/dA + m dLoss/dS with m = (x != 0),
// both gradients formed as they enter (neuron.h).
//
// A thread keeps the sums of a whole patch for its 4 channels, over its share of the pixels of the block's tiles; at the end
// the block adds its threads' sums, in an order that depends on their number alone. Each block writes a part, and whoever
// comes last of FAN blocks adds their parts in their order, and so on, as in a tree: one launch, and bits that do not depend
// on who comes last.
//
// Constants: those of first_layer.h; SEPARATE (clip "separate"); FAN. Called by ttfs_cupy/convolution/first_layer.py.

#include "first_layer.h"
#include "last_block.h"

// Of a patch: how many places' sums all threads leave in shared memory at a time. As in first_layer.py.
#define PLACES_AT_ONCE 6

DEVICE float4 added(float4 one, float4 other) {
    return make_float4(one.x + other.x, one.y + other.y, one.z + other.z, one.w + other.w);
}

// What arrives for 4 channels of a pixel.
struct Arriving {
    float grad[4], earliness[4], weight_sum[4];
    unsigned winners;  // a byte each
    unsigned place;    // of the pixel in its window
};

// channel: the first of the four; y, x in the image.
DEVICE Arriving fetch(const Spikes& of, int image, int y, int x, int channel) {
    Arriving to = {};
    const int neuron = neuron_at(of, image, y, x), count = of.channels - channel;
    if (neuron == OUTSIDE) return to;
    const long long at = (long long)neuron * of.channels + channel;
    load_channels(to.grad, of.grad + at, count);
    if (FIRES) load_channels(to.earliness, of.earliness + at, count);
    if (FIRES && HAS_SUM) load_channels(to.weight_sum, of.weight_sum + at, count);
    if (!POOLED) return to;
    to.place = place_in_window(y, x);
    if (VECTOR == 4) {
        to.winners = *(const unsigned*)(of.winner + at);
    } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (k < count) to.winners |= of.winner[at + k] << 8 * k;
        }
    }
    return to;
}

DEVICE void derive(const SpikeDerivative& of, const Arriving& from, float (&to_drive)[4], float (&to_sum)[4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const bool lost = POOLED && (from.winners >> 8 * k & 255u) != from.place;
        const float grad = lost ? 0.0f : from.grad[k];
        Outgoing<float> outgoing = {grad, of.slope * of.t_win * grad};
        if (FIRES) outgoing = outgoing_gradient<float>(of, grad, from.earliness[k], from.weight_sum[k]);
        to_drive[k] = outgoing.to_drive;
        to_sum[k] = outgoing.to_sum;
    }
}

// halo: where the pixel begins to see.
DEVICE void add_pixel(const float* halo, int halo_pitch, const float (&to_drive)[4], const float (&to_sum)[4],
                      float (&sums)[PATCH][4]) {
#pragma unroll
    for (int place = 0; place < PATCH; ++place) {
        const int y = place / (KERNEL_W * CHANNELS);
        const float value = halo[y * halo_pitch + place % (KERNEL_W * CHANNELS)], mask = mask_of(value);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            sums[place][k] += value * to_drive[k];
            if (HAS_SUM) sums[place][k] += mask * to_sum[k];
        }
    }
}

// Adds a tile's pixels, every `at_once`th from `first`.
DEVICE void add_tile(const Spikes& of, const Tiles& tiles, const Tile& tile, const float* halo, int channel, int first,
                     int at_once, float (&sums)[PATCH][4]) {
    const int height = min(of.height - tile.y, tiles.height), width = min(of.width - tile.x, tiles.width);
    const int down = at_once / width, across = at_once % width;
    int pixel_y = first / width, pixel_x = first % width;  // in the tile
    if (pixel_y >= height) return;
    Arriving next = fetch(of, tile.image, tile.y + pixel_y, tile.x + pixel_x, channel);
    while (pixel_y < height) {
        const Arriving arrived = next;
        const float* const seen = halo + pixel_y * STRIDE_H * tiles.halo_pitch + pixel_x * STRIDE_W * CHANNELS;
        pixel_y += down;
        pixel_x += across;
        if (pixel_x >= width) {
            pixel_x -= width;
            ++pixel_y;
        }
        // on its way while this one is added
        if (pixel_y < height) next = fetch(of, tile.image, tile.y + pixel_y, tile.x + pixel_x, channel);
        float to_drive[4], to_sum[4];
        derive(of.derivative, arrived, to_drive, to_sum);
        add_pixel(seen, tiles.halo_pitch, to_drive, to_sum, sums);
    }
}

// Adds the rows of each column of left (rows, columns): a thread adds a run of them, and one of each column the runs' sums.
// There are at most THREADS columns.
DEVICE void add_columns(float4* left, float4* total, int columns, int rows) {
    const int runs = THREADS / columns, length = (rows + runs - 1) / runs;
    const int column = threadIdx.x % columns, begin = threadIdx.x / columns * length;
    float4* const own = left + column;
    if (begin < rows) {
        float4 sum = own[begin * columns];
        for (int row = begin + 1; row < min(begin + length, rows); ++row) sum = added(sum, own[row * columns]);
        own[begin * columns] = sum;  // which nobody else reads before the barrier
    }
    __syncthreads();
    if (begin > 0) return;
    float4 sum = own[0];
    for (int row = length; row < rows; row += length) sum = added(sum, own[row * columns]);
    total[column] = sum;
}

// The sums of the block's threads: total (PATCH, lanes), 4 channels each. left: (THREADS, PLACES_AT_ONCE), scratch.
DEVICE void add_threads(const float (&sums)[PATCH][4], float4* left, float4* total, int lanes, int lane, int first,
                        int at_once) {
#pragma unroll
    for (int begin = 0; begin < PATCH; begin += PLACES_AT_ONCE) {
        const int places = PATCH - begin < PLACES_AT_ONCE ? PATCH - begin : PLACES_AT_ONCE, columns = places * lanes;
        __syncthreads();  // nobody reads the halo, or what was left before
        if (first < at_once) {
#pragma unroll
            for (int i = 0; i < places; ++i) {
                const float(&sum)[4] = sums[begin + i];
                left[first * columns + i * lanes + lane] = make_float4(sum[0], sum[1], sum[2], sum[3]);
            }
        }
        __syncthreads();
        add_columns(left, total + begin * lanes, columns, at_once);
    }
    __syncthreads();
}

// Whether this block is the last one to come of all `ranges`; total, of `size` pieces, is then the sum of all their totals.
// parts: those of the ranges, then those of each FAN of them, and so on; arrived: as many counters, all 0, and so again.
DEVICE bool add_totals(float4* total, int size, float4* parts, int* arrived, int range, int ranges) {
    while (ranges > 1) {
        for (int i = threadIdx.x; i < size; i += THREADS) parts[range * size + i] = total[i];
        const int parent = range / FAN, first = parent * FAN, count = min(ranges - first, FAN);
        if (!arrives_last(arrived + parent, count)) return false;
        for (int i = threadIdx.x; i < size; i += THREADS) {
            float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
            for (int part = first; part < first + count; ++part) {
                sum = added(sum, __ldcg(parts + part * size + i));
            }
            total[i] = sum;
        }
        parts += ranges * size;
        arrived += (ranges + FAN - 1) / FAN;
        range = parent;
        ranges = (ranges + FAN - 1) / FAN;
    }
    return true;
}

// images (N, height, width, CHANNELS); grad = dLoss/dx, earliness, weight_sum (null where psp_slope is 0), (N, out_h, out_w,
// out_channels) or, POOLED, of 2x2 windows with their winner -> grad_weights (KERNEL_H, KERNEL_W, CHANNELS, out_channels).
// tiles: of all images; a block has range_tiles of them, and 4 lanes channels. With ranges > 1: parts, scratch, and arrived.
KERNEL void __launch_bounds__(THREADS, 1) first_layer_weight_gradient(
    const float* __restrict__ images, const float* __restrict__ grad, const float* __restrict__ earliness,
    const float* __restrict__ OPTIONAL weight_sum, const unsigned char* __restrict__ OPTIONAL winner,
    const float* __restrict__ psp_slope, float scale, float t_win, float grad_clip, float* __restrict__ grad_weights,
    float* OPTIONAL parts, int* OPTIONAL arrived, int parts_of_sum, int ranges, int range_tiles, int all_tiles,
    int out_channels, int lanes, int tiles_down, int tiles_across, int tile_height, int tile_width, int halo_pitch,
    int height, int width, int padding_h, int padding_w, int out_h, int out_w) {
    const Tiles tiles = {tiles_down, tiles_across, tile_height, tile_width, halo_pitch};
    const int channel_blocks = gridDim.x / ranges, channel_block = blockIdx.x % channel_blocks;
    const int range = blockIdx.x / channel_blocks, first_tile = range * range_tiles;
    const int last_tile = min(first_tile + range_tiles, all_tiles);
    const int lane = threadIdx.x % lanes, first = threadIdx.x / lanes, at_once = THREADS / lanes;
    const int first_channel = channel_block * 4 * lanes, channel = first_channel + 4 * lane;
    const bool works = first < at_once && channel < out_channels;
    const Spikes of = {grad, earliness, HAS_SUM ? weight_sum : earliness, POOLED ? winner : nullptr, out_h, out_w,
                       out_channels, {HAS_SUM ? *psp_slope : 0.0f, scale, t_win, grad_clip, SEPARATE}};
    float* const halo = (float*)dynamic_shared;

    float sums[PATCH][4];
#pragma unroll
    for (int i = 0; i < PATCH * 4; ++i) sums[i / 4][i % 4] = 0.0f;
    for (int number = first_tile; number < last_tile; ++number) {
        const Tile tile = tile_of(tiles, number);
        __syncthreads();  // nobody reads the halo of the last tile
        load_halo({images, height, width, padding_h, padding_w}, tiles, tile, halo);
        __syncthreads();
        if (works) add_tile(of, tiles, tile, halo, channel, first, at_once, sums);
    }

    float4* const left = dynamic_shared;  // where the halo was
    float4* const total = left + THREADS * PLACES_AT_ONCE;
    add_threads(sums, left, total, lanes, lane, first, at_once);
    const int size = PATCH * lanes;
    float4* const own_parts = (float4*)parts + (long long)channel_block * parts_of_sum * size;
    if (!add_totals(total, size, own_parts, arrived + channel_block * parts_of_sum, range, ranges)) return;
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const int to = first_channel + i % lanes * 4;
        const float4 sum = total[i];
        const float values[4] = {sum.x, sum.y, sum.z, sum.w};
        if (to < out_channels) store_channels(grad_weights + i / lanes * out_channels + to, values, out_channels - to);
    }
}
