// Standardised weights (docs/model.md): a block has a strip of COLUMNS neurons, its threads rows of them. Called by
// device/standardization.py. By counting, of vgg11 (10.1 million weights) forward reads 40.4 MB from memory, twice more
// from the caches, and writes as much: 24 us at an H100's 3.35 TB/s; backward reads 80.8 MB and writes 40.4 MB: 36 us.
//
// Constants: THREADS, of a block; COLUMNS, of a strip at most, a power of two below WARP.

#include "strips.h"

// The sum of what the threads of a column bring, for all of them.
DEVICE float column_sum(float value) {
    __shared__ float of_warp[THREADS / WARP][COLUMNS];
#pragma unroll
    for (int step = WARP / 2; step >= COLUMNS; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    const int lane = threadIdx.x % WARP;
    if (lane < COLUMNS) of_warp[threadIdx.x / WARP][lane] = value;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (int warp = 0; warp < THREADS / WARP; ++warp) sum += of_warp[warp][threadIdx.x % COLUMNS];
    __syncthreads();  // the next sum of the block may overwrite them
    return sum;
}

// Runs body(place) for this thread's weights of its column, if the strip has that column.
template <typename Body>
DEVICE void each_row(const Strip& s, const Body& body) {
    const int column = threadIdx.x % COLUMNS;
    if (column >= s.columns) return;
#pragma unroll 4
    for (int row = threadIdx.x / COLUMNS; row < s.rows; row += THREADS / COLUMNS) body(s.first + row * s.step + column);
}

// trained: raw weights, and gains from gains_at on. statistics: {mean, 1 / norm} of each gain's raw weights. update:
// unless null, decide_update's: a step that was skipped leaves the weights as they are.
KERNEL void __launch_bounds__(THREADS, 6) standardize_weights_by_blocks(
    const int* __restrict__ strips, const float* __restrict__ trained, const float* __restrict__ OPTIONAL update,
    float* __restrict__ statistics, float* __restrict__ weights, int gains_at, int count) {
    if (update && update[0] == 0.0f) return;
    for (int strip = blockIdx.x; strip < count; strip += gridDim.x) {
        const Strip s = strip_of(strips, strip);
        if (s.gain < 0) {
            each_row(s, [&](int at) { weights[at] = trained[at]; });
            continue;
        }
        const int gain = s.gain + threadIdx.x % COLUMNS;
        float sum = 0.0f;
        each_row(s, [&](int at) { sum += trained[at]; });
        const float mean = column_sum(sum) / s.rows;
        float squares = 0.0f;
        each_row(s, [&](int at) { squares += (trained[at] - mean) * (trained[at] - mean); });
        const float inverse = inverse_norm(column_sum(squares));
        if (threadIdx.x < s.columns) {
            statistics[2 * gain] = mean;
            statistics[2 * gain + 1] = inverse;
        }
        const float scale = threadIdx.x % COLUMNS < s.columns ? trained[gains_at + gain] * inverse : 0.0f;
        each_row(s, [&](int at) { weights[at] = scale * (trained[at] - mean); });
    }
}

// From dLoss/d(weights) to dLoss/d(trained), by the statistics of standardize_weights_by_blocks.
KERNEL void __launch_bounds__(THREADS, 6) standardized_gradients_by_blocks(
    const int* __restrict__ strips, const float* __restrict__ trained, const float* __restrict__ statistics,
    const float* __restrict__ grad_weights, float* __restrict__ grad_trained, int gains_at, int count) {
    for (int strip = blockIdx.x; strip < count; strip += gridDim.x) {
        const Strip s = strip_of(strips, strip);
        if (s.gain < 0) {
            each_row(s, [&](int at) { grad_trained[at] = grad_weights[at]; });
            continue;
        }
        const bool is_there = threadIdx.x % COLUMNS < s.columns;
        const int gain = s.gain + threadIdx.x % COLUMNS;
        const float mean = is_there ? statistics[2 * gain] : 0.0f, inverse = is_there ? statistics[2 * gain + 1] : 0.0f;
        float sum = 0.0f, of_gain = 0.0f;
        each_row(s, [&](int at) {
            sum += grad_weights[at];
            of_gain += grad_weights[at] * ((trained[at] - mean) * inverse);
        });
        const float mean_grad = column_sum(sum) / s.rows, grad_gain = column_sum(of_gain);
        if (threadIdx.x < s.columns) grad_trained[gains_at + gain] = grad_gain;
        const float scale = is_there ? trained[gains_at + gain] * inverse : 0.0f;
        each_row(s, [&](int at) {
            const float unit = (trained[at] - mean) * inverse;
            grad_trained[at] = scale * (grad_weights[at] - mean_grad - unit * grad_gain);
        });
    }
}
