// Weights in the order in which tensor cores take them, each as the sum of two halves (spiking_inputs.h): (chunks of 16 input
// channels, taps, fragments of 16 output channels) of 64 pieces of 16 bytes, 0 beyond the last channel. In all orders the
// channels that a lane multiplies by its inputs' four neighbours are those. Called by convolution/tensorcore/split.py.

#include "operands.h"

// A weight and the one of the next input channel, of one output channel.
DEVICE void split_pair(const float* __restrict__ weights, float unit, int tap, int channel, int out_channel, int channels,
                       int out_channels, unsigned* first, unsigned* second) {
    float pair[2];
    for (int k = 0; k < 2; ++k) {
        const bool there = channel + k < channels && out_channel < out_channels;
        const long long at = ((long long)tap * channels + channel + k) * out_channels + out_channel;
        pair[k] = there ? in_range(unit, weights[at]) : 0.0f;
    }
    *first = to_halves(pair[0], pair[1]);
    *second = to_halves(pair[0] - low_half(*first), pair[1] - high_half(*first));
}

struct Fragment {
    int number, first_channel, first_out_channel, tap;
};

DEVICE Fragment fragment_of(int number, int taps, int out_channels) {
    const int fragments = (out_channels + 15) / 16;
    return {number, number / fragments / taps * 16, number % fragments * 16, number / fragments % taps};
}

DEVICE int fragments_of(int taps, int channels, int out_channels) {
    return (channels + 15) / 16 * taps * ((out_channels + 15) / 16);
}

// For warps: first halves and second halves, a piece of each for every lane. Its two output channels are neighbours, rows
// lane / 4 and 8 more of the fragment.
// weights (taps, channels, out_channels), float32; those beyond the largest half count as it. unit: a power of two.
KERNEL void pack_weights(const float* __restrict__ weights, float unit, float* __restrict__ packed, int taps, int channels,
                         int out_channels) {
    GRID_LOOP(i, fragments_of(taps, channels, out_channels) * WARP) {
        const Fragment of = fragment_of(i / WARP, taps, out_channels);
        const int channel = of.first_channel + i % 4 * 4, out_channel = of.first_out_channel + i % WARP / 4 * 2;
        uint4 first, second;
        split_pair(weights, unit, of.tap, channel, out_channel, channels, out_channels, &first.x, &second.x);
        split_pair(weights, unit, of.tap, channel, out_channel + 1, channels, out_channels, &first.y, &second.y);
        split_pair(weights, unit, of.tap, channel + 2, out_channel, channels, out_channels, &first.z, &second.z);
        split_pair(weights, unit, of.tap, channel + 2, out_channel + 1, channels, out_channels, &first.w, &second.w);
        uint4* const to = (uint4*)packed + of.number * 2 * WARP + i % WARP;
        to[0] = first;
        to[WARP] = second;
    }
}

// For warpgroups (warpgroup.h), the same for each 8 output channels: 16 pieces of first halves, 16 of second halves; of
// these, the first 8 have the first two of each four input channels, the others the last two. A piece is of one output channel.
KERNEL void pack_weights_for_groups(const float* __restrict__ weights, float unit, float* __restrict__ packed, int taps,
                                    int channels, int out_channels) {
    GRID_LOOP(i, fragments_of(taps, channels, out_channels) * WARP) {
        const Fragment of = fragment_of(i / WARP, taps, out_channels);
        const int column = i % 16, later = i % WARP / 16;
        const int channel = of.first_channel + later * 2, out_channel = of.first_out_channel + column;
        uint4 first, second;
        split_pair(weights, unit, of.tap, channel, out_channel, channels, out_channels, &first.x, &second.x);
        split_pair(weights, unit, of.tap, channel + 4, out_channel, channels, out_channels, &first.y, &second.y);
        split_pair(weights, unit, of.tap, channel + 8, out_channel, channels, out_channels, &first.z, &second.z);
        split_pair(weights, unit, of.tap, channel + 12, out_channel, channels, out_channels, &first.w, &second.w);
        uint4* const to = (uint4*)packed + of.number * 2 * WARP + column / 8 * WARP + later * 8 + column % 8;
        to[0] = first;
        to[16] = second;
    }
}
