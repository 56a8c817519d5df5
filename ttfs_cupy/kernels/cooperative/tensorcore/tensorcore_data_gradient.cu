// dLoss/dx of a layer's inputs on tensor cores, in TF32: the convolution of dLoss/dA = dLoss/dx dx/dA with the kernel turned
// and in and out exchanged. A neuron's derivative (neuron.h) is formed as it enters, from its gradient, earliness and
// weight sum; nothing is stored of it. Where the convolution skips pixels (stride), the gradients lie so far apart.
//
// Constants: those of implicit_gemm.h; FIRES, 0 where the layer's output is membrane potentials; POOLED, 1 where 2x2 pooling
// is joined to it; SEPARATE, 1 for T2FSNN's way to clip. Called by convolution/tensorcore/split.py.

#include "operands.h"
#include "copies.h"
#include "implicit_gemm.h"
#include "winners.h"

struct GradientOperand {
    static constexpr int IN_FLIGHT = 0;
    Spikes of;
    const float* weights;  // (taps, in_channels, channels)
    int first_channel, in_channels, taps;
    float4 *earliness, *weight_sum;  // of the halo whose gradients are on their way
    unsigned* winner;
    Sums sums;

    DEVICE_MEMBER void copy(int piece, int offset, int channel, float4* halo) const {
        const int at = in_gradients(offset);
        copy_channels(halo + piece, of.grad, at, channel, of.channels);
        if (!FIRES) return;
        copy_channels(earliness + piece, of.earliness, at, channel, of.channels);
        copy_channels(weight_sum + piece, of.weight_sum, at, channel, of.channels);
        if (POOLED) copy_winners(of, winner + piece, at, channel);
    }
    DEVICE_MEMBER unsigned derived(float grad, float x, float s, bool lost) const {
        const float own = lost ? 0.0f : grad;
        return round_to_tf32(FIRES ? outgoing_gradient<float>(of.derivative, own, x, s).to_drive : own);
    }
    DEVICE_MEMBER void convert(int piece, int offset, float4* halo) const {
        const float4 grad = halo[piece], none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        const float4 x = FIRES ? earliness[piece] : none, s = FIRES ? weight_sum[piece] : none;
        const unsigned lost = POOLED ? differing_bytes(winner[piece], offset & 3) : 0u;
        uint4 gradients;
        gradients.x = derived(grad.x, x.x, s.x, lost & 0x000000ffu);
        gradients.y = derived(grad.y, x.y, s.y, lost & 0x0000ff00u);
        gradients.z = derived(grad.z, x.z, s.z, lost & 0x00ff0000u);
        gradients.w = derived(grad.w, x.w, s.w, lost & 0xff000000u);
        ((uint4*)halo)[piece] = gradients;
    }
    // Rows of 16 channels; the channels that a lane writes are neighbours, those that it multiplies 8 rows apart. Of the
    // latter 8, each two are exchanged, or a row would meet its neighbour in a bank when both are copied.
    DEVICE_MEMBER static int place_of(int pair, int half) { return pair ^ half * 9; }
    DEVICE_MEMBER void copy_weights(float4* slot, int chunk, int first_tap, int count) const {
        const int thread_row = threadIdx.x / PIECES, part = threadIdx.x % PIECES, channel = chunk * CHUNK + part * 4;
        const float* const from = weights + (unsigned)((first_channel + thread_row) * of.channels + channel);
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            const int turned = taps - 1 - first_tap - tap;
#pragma unroll
            for (int start = 0; start < CHANNELS; start += THREADS / PIECES) {
                const int row = start + thread_row, place = (row & ~15) + place_of(row % 16 / 2, row % 2);
                if (CHANNELS % (THREADS / PIECES) && row >= CHANNELS) break;
                copy_floats(slot + (tap * CHANNELS + place) * PIECES + part,
                            from + (turned * in_channels + start) * of.channels,
                            tap < count && (WHOLE || first_channel + row < in_channels), of.channels - channel);
            }
        }
    }
    DEVICE_MEMBER static int seen_pixel(int j) { return j * 8 + lane() / 4; }
    DEVICE_MEMBER void show_weights() const {}
    DEVICE_MEMBER void multiply(const float4* halo, const unsigned (&seen)[WARP_PIXELS], const float4* weights_of_tap, int) {
        const float4* const own_weights[2] = {weights_of_tap + place_of(lane() / 4, 0) * PIECES + lane() % 4,
                                              weights_of_tap + place_of(lane() / 4, 1) * PIECES + lane() % 4};
        unsigned w[WARP_CHANNELS][2][4];
#pragma unroll
        for (int i = 0; i < WARP_CHANNELS; ++i) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const float4 row = own_weights[half][i * 16 * PIECES];
                w[i][0][half] = round_to_tf32_at_once(row.x);
                w[i][0][half + 2] = round_to_tf32_at_once(row.y);
                w[i][1][half] = round_to_tf32_at_once(row.z);
                w[i][1][half + 2] = round_to_tf32_at_once(row.w);
            }
        }
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
            const uint4 gradients = *(const uint4*)((const char*)halo + seen[j]);
#pragma unroll
            for (int i = 0; i < WARP_CHANNELS; ++i) {
                multiply_tf32(sums[i][j], w[i][0], gradients.x, gradients.y);
                multiply_tf32(sums[i][j], w[i][1], gradients.z, gradients.w);
            }
        }
    }
    DEVICE_MEMBER void end_stage(int) const {}
    // What tensor cores lose as they add is little beside what TF32 does.
    DEVICE_MEMBER void settle() {}
};

// grad = dLoss/d(output), output and weight_sum (null where psp_slope is 0), (N, height, width, channels), or with winner
// those of 2x2 windows as tensorcore_forward left them; weights (kernel_h, kernel_w, in_channels, channels) ->
// grad_images (N, in_h, in_w, in_channels). pixels: N in_h in_w. stride, padding: of
// the forward convolution.
KERNEL void __launch_bounds__(THREADS, 1) tensorcore_data_gradient(
    const float* __restrict__ grad, const float* __restrict__ earliness, const float* __restrict__ OPTIONAL weight_sum,
    const unsigned char* __restrict__ OPTIONAL winner, const float* __restrict__ psp_slope, float scale, float t_win,
    float grad_clip, const float* __restrict__ weights, float* __restrict__ grad_images, int pixels,
    int halo_pixels, int height, int width, int channels, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int padding_h, int padding_w, int in_h, int in_w, int in_channels) {
    const Sliding sliding = {height, width, channels, kernel_h, kernel_w, 1, 1, kernel_h - 1 - padding_h,
                             kernel_w - 1 - padding_w, stride_h, stride_w, in_h, in_w, false, POOLED};
    const Block block = block_of(sliding, blockIdx.x, pixels, in_channels, halo_pixels);
    GradientOperand operand;
    operand.of = {grad, earliness, weight_sum ? weight_sum : earliness, winner, height, width, channels,
                  {weight_sum ? *psp_slope : 0.0f, scale, t_win, grad_clip, SEPARATE}};
    operand.weights = weights;
    operand.first_channel = block.first_channel;
    operand.in_channels = in_channels;
    operand.taps = sliding.taps();
    operand.earliness = block.behind_ring;
    operand.weight_sum = operand.earliness + halo_pixels * PIECES;
    operand.winner = (unsigned*)(operand.weight_sum + halo_pixels * PIECES);
    clear_sums(operand.sums);
    multiply_block(operand, sliding, block, pixels);
#pragma unroll
    for (int i = 0; i < WARP_CHANNELS; ++i) {
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
            const int channel = lane_channel(block, i), pixel = lane_pixel(block, j);
            const float(&sum)[4] = operand.sums[i][j];
            if (!WHOLE && channel >= in_channels) continue;
            if (pixel < pixels) store_pair(grad_images, pixel, in_channels, channel, sum[0], sum[2]);
            if (pixel + 1 < pixels) store_pair(grad_images, pixel + 1, in_channels, channel, sum[1], sum[3]);
        }
    }
}
