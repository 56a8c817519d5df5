// Cross-entropy of softmax(potentials) (cross_entropy.h) with its gradient, a warp a row; and the totals that a training log
// reads now and then, to which the block that comes last adds all rows, in one launch. Called by device/reductions.py.

#include "last_block.h"
#include "block_sums.h"
#include "cross_entropy.h"

struct WholeWarp {
    static constexpr int lanes = WARP;
    DEVICE int lane() { return threadIdx.x % WARP; }
    DEVICE float sum(float own) { return warp_sum(own); }
    DEVICE Largest largest(Largest own) {
#pragma unroll
        for (int step = WARP / 2; step; step /= 2) {
            const Largest other = {__shfl_xor_sync(0xffffffffu, own.value, step),
                                   __shfl_xor_sync(0xffffffffu, own.place, step)};
            if (is_larger(other, own)) own = other;
        }
        return own;
    }
};

// potentials, grad: (rows, classes); labels, others, shares, row_loss, row_correct: (rows). others and shares: of images
// that were mixed, the other one's label and the share of the first, or null. weights: of the classes, or null. totals:
// add_batch's, which a batch that was refused leaves as they are. marks: engine/validity.py's; where the first is set,
// there is no loss. arrived: 0 between two launches. images: of the batch that the rows are of. Five blocks to a
// multiprocessor: left to itself, the compiler makes it more, and spills.
KERNEL void __launch_bounds__(THREADS, 5) cross_entropy_by_blocks(
    const float* __restrict__ potentials, const int* __restrict__ labels, const int* __restrict__ OPTIONAL others,
    const float* __restrict__ OPTIONAL shares, float smoothing, const float* __restrict__ OPTIONAL weights, int* marks,
    float* __restrict__ grad, float* row_loss, int* row_correct, int* arrived, double* __restrict__ totals, int rows,
    int images, int classes) {
    const bool is_refused = marks[0] != 0;
    const int at_once = gridDim.x * (THREADS / WARP);
    for (int row = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; row < rows; row += at_once) {
        const long long first = (long long)row * classes;
        const Target target = target_of(row, labels, others, shares, smoothing);
        cross_entropy_row<WholeWarp>(potentials + first, target, weights, grad + first, row_loss + row,
                                     row_correct + row, is_refused, images, classes);
    }
    if (!arrives_last(arrived, gridDim.x)) return;
    double loss = 0.0;
    int correct = 0;
    Troubles troubles = {0, 0};
    for (int row = threadIdx.x; row < rows; row += THREADS) {
        loss += __ldcg(row_loss + row);
        const int is_correct = __ldcg(row_correct + row);
        correct += is_correct;
        troubles.no_class += is_correct == NO_CLASS;
        troubles.no_share += is_correct == NO_SHARE;
    }
    loss = block_sum(loss);
    correct = block_sum(correct);
    troubles.no_class = block_sum(troubles.no_class);
    troubles.no_share = block_sum(troubles.no_share);
    if (threadIdx.x == 0) add_batch(loss, correct, troubles, rows, marks, totals);
}
