// The gradient's norm, and what becomes of the step (decide_update.h), in one launch: each block sums the squares of
// parts, and the block that comes last adds these sums. Called by device/reductions.py. It reads every gradient once:
// of vgg11 40.4 MB, 12.1 us at an H100's 3.35 TB/s.

#include "last_block.h"
#include "block_sums.h"
#include "decide_update.h"

// grad (n) -> sums (parts), each of part_size values, a multiple of 4; arrived: 0 between two launches.
KERNEL void __launch_bounds__(THREADS) prepare_update_by_blocks(
    const float* __restrict__ grad, float* sums, int* arrived, const float* __restrict__ learning_rate,
    float* __restrict__ update, long long* __restrict__ counts, float clip_norm, float beta1, float beta2, int parts,
    int part_size, int n) {
    for (int part = blockIdx.x; part < parts; part += gridDim.x) {
        float squares = 0.0f;
        each_of_part(grad, part, part_size, n, [&](float value) { squares += value * value; });
        squares = block_sum(squares);
        if (threadIdx.x == 0) sums[part] = squares;
    }
    if (!arrives_last(arrived, gridDim.x)) return;
    double squares = 0.0;
    for (int part = threadIdx.x; part < parts; part += THREADS) squares += __ldcg(sums + part);
    squares = block_sum(squares);
    if (threadIdx.x == 0) decide_update(squares, *learning_rate, update, counts, clip_norm, beta1, beta2);
}
