// Forward on tensor cores: S = sum w m and A = sum w x, and the neurons' rule on them (neuron.h), in one pass over the
// earliness. It is read once for both; the mask is formed in registers; the same loads of the weights serve S and A.
//
// Where there are few neurons with many inputs each, as in a readout, each block sums over a range of the channels only, and
// whoever comes last adds the ranges (arrivals.h).
//
// Constants: those of implicit_gemm.h, of spiking_inputs.h and of fired.h; GROUPS, 1 to multiply by warpgroups, which only compute
// capability 9.0 can; RANGED, 1 where there are several ranges; FAN. Called by convolution/tensorcore/split.py.

#include "operands.h"
#include "copies.h"
#include "implicit_gemm.h"
#include "warpgroup.h"
#include "spiking_inputs.h"
#include "spiking_warps.h"
#include "spiking_groups.h"
#include "fired.h"
#include "last_block.h"
#include "arrivals.h"

// images (N, height, width, channels), and weights from pack_weights.cu -> earliness, or (fires is 0) membrane potentials,
// (N, out_h, out_w, out_channels), and unless null their weight_sum. With winner, all three are of 2x2 windows: of the
// earliest spike and its place in the window, 255 if all are silent. pixels: all that are computed, of all images.
// initial: with INITIAL, potentials that channels begin with.
// unit, weight_unit: what an earliness and a weight of 1 are multiplied as, powers of two. range_chunks: of 16 channels, in a
// range; with ranges > 1, parts and arrived, as in arrivals.h.
KERNEL void __launch_bounds__(THREADS, 1) tensorcore_forward(
    const float* __restrict__ images, const float* __restrict__ weights, const float* __restrict__ psp_slope, float scale,
    float t_win, const float* __restrict__ OPTIONAL initial, int fires, float unit, float weight_unit,
    float* __restrict__ earliness, float* __restrict__ OPTIONAL weight_sum, unsigned char* __restrict__ OPTIONAL winner,
    int pixels, int out_channels, int halo_pixels, int height, int width, int channels, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int padding_h, int padding_w, int out_h, int out_w, float* OPTIONAL parts, int* OPTIONAL arrived, int ranges,
    int range_chunks) {
    const bool pooled = winner != nullptr;
    const Sliding of = {height,    width,     channels, kernel_h, kernel_w, stride_h, stride_w, padding_h,
                        padding_w, 1,         1,        out_h,    out_w,    pooled,   false};
    const Share share = share_of(RANGED ? ranges : 1);
    Block block = block_of(of, share.tile, pixels, out_channels, halo_pixels);
    if (RANGED) {
        block.first_chunk = share.range * range_chunks;
        block.last_chunk = min(block.first_chunk + range_chunks, block.last_chunk);
    }
    SpikingOperand operand;
    operand.images = images;
    operand.weights = weights;
    operand.channels = channels;
    operand.taps = of.taps();
    operand.first_fragment = block.first_channel / 16;
    operand.fragments = (out_channels + 15) / 16;
    operand.unit = unit;
    operand.clear();
    multiply_block(operand, of, block, pixels);
    if (RANGED && !add_ranges(operand, (float4*)parts, arrived, share)) return;

    const Fired to = {earliness, weight_sum, winner, out_channels};
    const float sum_scale = 1.0f / weight_unit;
    const Rule rule = {scale * (sum_scale / unit), sum_scale, HAS_SUM ? *psp_slope : 0.0f, t_win, fires, initial};
    operand.each_end(block, [&](int pixel, int channel, const float(&drive)[2][2], const float(&sum)[2][2], int apart) {
        finish(to, rule, pixel, pixels, channel, drive, sum, apart);
    });
}
