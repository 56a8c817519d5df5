// The gradient of the initial potentials (docs/model.md, "Initial potential"): a block has a part of the rows of WARP
// neighbouring channels, its warps one row after another. Called by device/initial_potential.py. By counting, it reads 12
// bytes of each value that a layer leaves: of vgg11 at batch 128, 7.7 million values, 92 MB, 28 us at an H100's 3.35 TB/s.
//
// Constant: THREADS, of a block.

// grad, earliness and weight_sum (null where psp_slope is 0), (rows, channels), as a layer's backward gets them ->
// sums (parts, channels): T dLoss/dA summed over each part's part_rows rows. fires is 0: of neurons that do not, T grad.
KERNEL void __launch_bounds__(THREADS, 6) initial_potential_gradient_by_blocks(
    const float* __restrict__ grad, const float* __restrict__ earliness, const float* __restrict__ OPTIONAL weight_sum,
    const float* __restrict__ psp_slope, float t_win, float grad_clip, int separate, int fires, float* __restrict__ sums,
    int parts, int part_rows, int rows, int channels) {
    __shared__ float of_warp[THREADS / WARP][WARP];
    // scale: what dLoss/dA is multiplied by
    const SpikeDerivative derivative = {weight_sum ? *psp_slope : 0.0f, t_win, t_win, grad_clip, separate != 0};
    const int groups = (channels + WARP - 1) / WARP, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    for (int share = blockIdx.x; share < parts * groups; share += gridDim.x) {
        const int part = share / groups, channel = share % groups * WARP + lane;
        const int first = part * part_rows, last = min(rows, first + part_rows);
        float own = 0.0f;
        if (channel < channels) {
#pragma unroll 4
            for (int row = first + warp; row < last; row += THREADS / WARP) {
                const long long at = (long long)row * channels + channel;
                const float s = fires && weight_sum ? weight_sum[at] : 0.0f;
                own += fires ? outgoing_gradient<float>(derivative, grad[at], earliness[at], s).to_drive : t_win * grad[at];
            }
        }
        of_warp[warp][lane] = own;
        __syncthreads();
        if (warp == 0 && channel < channels) {
            float sum = 0.0f;
#pragma unroll
            for (int other = 0; other < THREADS / WARP; ++other) sum += of_warp[other][lane];
            sums[(long long)part * channels + channel] = sum;
        }
        __syncthreads();  // the next share of the block may overwrite them
    }
}
