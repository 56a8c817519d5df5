// Forward on tensor cores: S = sum w m and A = sum w x, and the neurons' rule on them (neuron.h), in one pass over the
// earliness. It is read once for both; the mask is formed in registers; the same loads of the weights serve S and A.
//
// A half has 11 significant bits, as TF32 has, at twice TF32's rate. With SPLIT, x and w are each the sum of two halves,
// x = xh + xl and w = wh + wl, 22 bits: A = xl wh + xh wl + xh wh, and, the mask being exact, S = m wl + m wh. Both are
// scaled by powers of two, so that neither half of a usual x or w is subnormal. Without SPLIT the second halves are dropped.
//
// Tensor cores truncate as they add (Fasi et al., 2021), which over thousands of terms would cost more than the split
// gains: so sums are kept short, and added up by ordinary arithmetic (Ootomo and Yokota, 2022).
//
// Constants: those of implicit_gemm.h; HAS_SUM, 0 where psp_slope is 0 and S not needed; SPLIT. Called by
// ttfs_cupy/convolution/tensorcore.py.

#include "operands.h"
#include "copies.h"
#include "implicit_gemm.h"

// As to_halves, but what is not 0 does not become 0: the mask is told by it.
DEVICE unsigned to_spiking_halves(float low, float high) {
    unsigned halves = to_halves(low, high);
    if (!(halves & 0x00007fffu) && low != 0.0f) halves |= 0x00000001u;
    if (!(halves & 0x7fff0000u) && high != 0.0f) halves |= 0x00010000u;
    return halves;
}

struct SpikingOperand {
    const float *images, *weights;
    int channels, taps;
    int first_fragment, fragments;  // of 16 output channels: the block's first, and all
    float unit;  // what an earliness of 1 is multiplied as
    Sums drive, sum, all_drive, all_sum;

    DEVICE_MEMBER void clear() {
        clear_sums(drive);
        clear_sums(sum);
        clear_sums(all_drive);
        clear_sums(all_sum);
    }
    DEVICE_MEMBER void copy(int piece, int offset, int channel, float4* halo) const {
        copy_channels(halo + piece, images, offset, channel, channels);
    }
    // 4 values become their 4 first halves and their 4 second halves.
    DEVICE_MEMBER void convert(int piece, int, float4* halo) const {
        const float4 x = halo[piece];
        const float4 v = make_float4(in_range(unit * x.x), in_range(unit * x.y), in_range(unit * x.z), in_range(unit * x.w));
        uint4 halves;
        halves.x = to_spiking_halves(v.x, v.y);
        halves.y = to_spiking_halves(v.z, v.w);
        halves.z = to_halves(v.x - low_half(halves.x), v.y - high_half(halves.x));
        halves.w = to_halves(v.z - low_half(halves.y), v.w - high_half(halves.y));
        ((uint4*)halo)[piece] = halves;
    }
    DEVICE_MEMBER void copy_weights(float4* slot, int chunk, int first_tap, int count) const {
        const float* const from = weights + ((chunk * taps + first_tap) * fragments + first_fragment) * (FRAGMENT * 4);
        each_weight_piece([&](int piece, int tap, int of_tap) {
            const bool there = tap < count && (WHOLE || first_fragment + of_tap / FRAGMENT < fragments);
            copy_async(slot + piece, from + (there ? (tap * fragments * FRAGMENT + of_tap) * 4 : 0), there);
        });
    }
    DEVICE_MEMBER void multiply(const float4* halo, const int (&seen)[WARP_PIXELS], const float4* weights) {
        unsigned first[WARP_CHANNELS][4], second[WARP_CHANNELS][4];
#pragma unroll
        for (int i = 0; i < WARP_CHANNELS; ++i) {
            load_fragment(first[i], weights + i * FRAGMENT + lane());
            if (SPLIT) load_fragment(second[i], weights + i * FRAGMENT + WARP + lane());
        }
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
            const uint4 x = *(const uint4*)(halo + seen[j]);
            const unsigned m0 = nonzero_halves(x.x), m1 = nonzero_halves(x.y);
#pragma unroll
            for (int i = 0; i < WARP_CHANNELS; ++i) {
                if (SPLIT) {
                    multiply_halves(drive[i][j], first[i], x.z, x.w);
                    if (HAS_SUM) multiply_halves(sum[i][j], second[i], m0, m1);
                    multiply_halves(drive[i][j], second[i], x.x, x.y);
                }
                if (HAS_SUM) multiply_halves(sum[i][j], first[i], m0, m1);
                multiply_halves(drive[i][j], first[i], x.x, x.y);
            }
        }
    }
    DEVICE_MEMBER void settle() {
        move_sums(drive, all_drive);
        if (HAS_SUM) move_sums(sum, all_sum);
    }
};

struct Earliest {
    float earliness, weight_sum;
    int place;
};

// The larger earliness; at a tie, the first place.
DEVICE Earliest earlier(const Earliest& one, const Earliest& other) {
    const bool other_wins =
        other.earliness > one.earliness || (other.earliness == one.earliness && other.place < one.place);
    return other_wins ? other : one;
}

DEVICE Earliest of_other_lane(const Earliest& own, int lanes_apart) {
    return {__shfl_xor_sync(0xffffffffu, own.earliness, lanes_apart),
            __shfl_xor_sync(0xffffffffu, own.weight_sum, lanes_apart),
            __shfl_xor_sync(0xffffffffu, own.place, lanes_apart)};
}

struct Fired {
    float* earliness;
    float* weight_sum;
    unsigned char* winner;
    int channels;
};

DEVICE void store_fired(const Fired& to, int pixel, int channel, const Earliest (&pair)[2]) {
    store_pair(to.earliness, pixel, to.channels, channel, pair[0].earliness, pair[1].earliness);
    if (to.weight_sum) store_pair(to.weight_sum, pixel, to.channels, channel, pair[0].weight_sum, pair[1].weight_sum);
    for (int k = 0; to.winner && k < 2 && channel + k < to.channels; ++k) {
        to.winner[(long long)pixel * to.channels + channel + k] =
            (unsigned char)(pair[k].earliness > 0.0f ? pair[k].place : 255);
    }
}

// images (N, height, width, channels), and weights from pack_weights.cu -> earliness, or (fires is 0) membrane potentials,
// (N, out_h, out_w, out_channels), and unless null their weight_sum. With winner, all three are of 2x2 windows: of the
// earliest spike and its place in the window, 255 if all are silent. pixels: all that are computed, of all images.
// unit, weight_unit: what an earliness and a weight of 1 are multiplied as, powers of two.
KERNEL void __launch_bounds__(THREADS, 1) tensorcore_forward(
    const float* __restrict__ images, const float* __restrict__ weights, const float* __restrict__ psp_slope, float scale,
    float t_win, int fires, float unit, float weight_unit, float* __restrict__ earliness,
    float* __restrict__ OPTIONAL weight_sum, unsigned char* __restrict__ OPTIONAL winner, int pixels, int out_channels,
    int halo_pixels, int height, int width, int channels, int kernel_h, int kernel_w, int stride_h, int stride_w,
    int padding_h, int padding_w, int out_h, int out_w) {
    const bool pooled = winner != nullptr;
    const Sliding of = {height,    width,     channels, kernel_h, kernel_w, stride_h, stride_w, padding_h,
                        padding_w, 1,         1,        out_h,    out_w,    pooled,   false};
    const Block block = block_of(of, pixels, out_channels, halo_pixels);
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

    const Fired to = {earliness, weight_sum, winner, out_channels};
    const float slope = HAS_SUM ? *psp_slope : 0.0f;
    const float sum_scale = 1.0f / weight_unit, drive_scale = scale * (sum_scale / unit);
#pragma unroll
    for (int i = 0; i < WARP_CHANNELS; ++i) {
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
            const int channel = lane_channel(block, i), pixel = lane_pixel(block, j);
            Earliest out[2][2];  // of two pixels, two channels each
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float a = drive_scale * operand.all_drive[i][j][k];
                const float s = HAS_SUM ? sum_scale * operand.all_sum[i][j][k] : 0.0f;
                const float x = fires ? earliness_of<float>(a, s, slope, t_win) : a + slope * t_win * s;
                out[k % 2][k / 2] = {x, s, pixel % 4 + k % 2};
            }
            if (winner) {
#pragma unroll
                for (int k = 0; k < 2; ++k) {
                    const Earliest own = earlier(out[0][k], out[1][k]);
                    out[0][k] = earlier(own, of_other_lane(own, 1));
                }
                if (channel < out_channels && pixel < pixels && pixel % 4 == 0) store_fired(to, pixel / 4, channel, out[0]);
            } else if (channel < out_channels) {
                if (pixel < pixels) store_fired(to, pixel, channel, out[0]);
                if (pixel + 1 < pixels) store_fired(to, pixel + 1, channel, out[1]);
            }
        }
    }
}
