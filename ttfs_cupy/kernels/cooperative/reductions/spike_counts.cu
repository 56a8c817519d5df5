// How many neurons fired, and which pixels have a neuron that did. Called by device/reductions.py.

#include "block_sums.h"

// counts: (parts, 2). Adds the number of spikes in each part of earliness (n), of part_size values, a multiple of 4, and how
// many of them come as their window, of length t_win, opens.
KERNEL void __launch_bounds__(THREADS) count_spikes_by_blocks(const float* __restrict__ earliness,
                                                             long long* __restrict__ counts, float t_win, int parts,
                                                             int part_size, int n) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        int spikes = 0, at_once = 0;
        each_of_part(earliness, part, part_size, n, [&](float value) {
            spikes += value != 0.0f;
            at_once += value >= t_win;
        });
        spikes = block_sum(spikes);
        at_once = block_sum(at_once);
        if (threadIdx.x == 0) {
            counts[2 * part] += spikes;
            counts[2 * part + 1] += at_once;
        }
    }
}

// spiked[pixel] = 1 where any channel of the pixel is not silent, else 0. A warp has a pixel.
KERNEL void __launch_bounds__(THREADS) find_spikes_by_warps(const float* __restrict__ images, float* __restrict__ spiked,
                                                           int pixels, int channels) {
    const int lane = threadIdx.x % WARP, at_once = gridDim.x * (THREADS / WARP);
    for (int pixel = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; pixel < pixels; pixel += at_once) {
        const float* __restrict__ const values = images + (long long)pixel * channels;
        bool spikes = false;
        for (int c = lane; c < channels; c += WARP) spikes |= values[c] != 0.0f;
        spikes = __any_sync(0xffffffffu, spikes);
        if (lane == 0) spiked[pixel] = spikes ? 1.0f : 0.0f;
    }
}
