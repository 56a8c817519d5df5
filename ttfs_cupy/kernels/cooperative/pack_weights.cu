// Weights in the order in which the tensor cores' lanes take them, each as the sum of two halves (tensorcore_forward.cu):
// (chunks of 16 input channels, taps, fragments of 16 output channels, 2, lanes) pieces of 16 bytes, 0 beyond the last
// channel. A lane's two output channels are neighbours, rows lane / 4 and 8 more of the fragment, and its four input
// channels, too. Called by ttfs_cupy/convolution/tensorcore.py.

#include "operands.h"

// A weight and the one of the next input channel, of one output channel.
DEVICE void split_pair(const float* __restrict__ weights, float unit, int tap, int channel, int out_channel, int channels,
                       int out_channels, unsigned* first, unsigned* second) {
    float pair[2];
    for (int k = 0; k < 2; ++k) {
        const bool there = channel + k < channels && out_channel < out_channels;
        const long long at = ((long long)tap * channels + channel + k) * out_channels + out_channel;
        pair[k] = there ? in_range(unit * weights[at]) : 0.0f;
    }
    *first = to_halves(pair[0], pair[1]);
    *second = to_halves(pair[0] - low_half(*first), pair[1] - high_half(*first));
}

// weights (taps, channels, out_channels), float32; those beyond the largest half count as it. unit: a power of two.
KERNEL void pack_weights(const float* __restrict__ weights, float unit, float* __restrict__ packed, int taps, int channels,
                         int out_channels) {
    const int chunks = (channels + 15) / 16, fragments = (out_channels + 15) / 16;
    GRID_LOOP(i, chunks * taps * fragments * WARP) {
        const int fragment = i / WARP % fragments, tap = i / WARP / fragments % taps, chunk = i / WARP / fragments / taps;
        const int channel = chunk * 16 + i % 4 * 4, out_channel = fragment * 16 + i % WARP / 4 * 2;
        uint4 first, second;
        split_pair(weights, unit, tap, channel, out_channel, channels, out_channels, &first.x, &second.x);
        split_pair(weights, unit, tap, channel, out_channel + 1, channels, out_channels, &first.y, &second.y);
        split_pair(weights, unit, tap, channel + 2, out_channel, channels, out_channels, &first.z, &second.z);
        split_pair(weights, unit, tap, channel + 2, out_channel + 1, channels, out_channels, &first.w, &second.w);
        uint4* const to = (uint4*)packed + i / WARP * 2 * WARP + i % WARP;
        to[0] = first;
        to[WARP] = second;
    }
}
