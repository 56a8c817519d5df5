// dLoss/dw on tensor cores, in TF32: for each tap, the sum over pixels of x dLoss/dA + m dLoss/dS, a product of OUT output
// channels x IN input channels. Both gradients are formed as they enter (neuron.h) and the mask m = (x != 0) in registers; a
// pixel's two terms are neighbours in one sum.
//
// A block sums its taps over a range of the pixels, STEP at a time. Ranges are added up in a tree: each writes its sums, and
// whichever block comes last of FAN adds them in their order, so that bits do not depend on which it is.
//
// Work goes in turns: in each, a step's neurons are copied, those of the step before it are derived, and the one before that
// is multiplied, whose inputs were copied in the turn before. Copies are asynchronous, so that neither they nor the neurons'
// derivatives are waited for.
//
// Constants: WARPS_OUT and WARPS_IN (a block's warps), WARP_IN, STRIPS and TAPS (each warp has 64 output channels, 8 WARP_IN
// input channels, and STRIPS times TAPS taps), HALO and PAIRED (as in steps.h), FAN, VECTOR and WHOLE (as in copies.h),
// HAS_SUM (0 where psp_slope is 0), and FIRES, POOLED, SEPARATE (as in tensorcore_data_gradient.cu). Called by
// convolution/tensorcore/split.py.

#include "operands.h"
#include "copies.h"
#include "winners.h"
#include "steps.h"
#include "last_block.h"
#include "arrivals.h"

// Runs body(piece, pixel of the step, 4 channels of the block) for this thread's pieces of the neurons.
template <typename Body>
DEVICE void each_neuron_piece(const Body& body) {
    static_assert(THREADS % (OUT / 4) == 0, "a thread's pieces are of the same channels");
    const int first = threadIdx.x / (OUT / 4), part = threadIdx.x % (OUT / 4);
#pragma unroll
    for (int start = 0; start < STEP; start += THREADS / (OUT / 4)) {
        const int pixel = start + first;
        if (STEP % (THREADS / (OUT / 4)) == 0 || pixel < STEP) body(pixel * OUT_PITCH + part, pixel, part);
    }
}

DEVICE void copy_neurons(const Work& work, const int* table, float4* stage) {
    const Spikes& of = work.of;
    each_neuron_piece([&](int piece, int pixel, int part) {
        const int offset = table[pixel], channel = work.first_out + part * 4;
        const int at = in_gradients(offset);
        copy_channels(stage + piece, of.grad, at, channel, of.channels);
        if (!FIRES) return;
        copy_channels(stage + NEURON_PIECES + piece, of.earliness, at, channel, of.channels);
        if (HAS_SUM) copy_channels(stage + SUMS + piece, of.weight_sum, at, channel, of.channels);
        if (POOLED) copy_winners(of, (unsigned*)(stage + WINNERS) + pixel * (OUT / 4) + part, at, channel);
    });
}

DEVICE void copy_inputs(const Work& work, const int* table, float4* stage) {
    static_assert(THREADS % (IN / 4) == 0, "a thread's pieces are of the same channels");
    const int first = threadIdx.x / (IN / 4), part = threadIdx.x % (IN / 4);
    float4* const to = stage + first * IN_PITCH + part;
    int offsets[INPUT_ROUNDS];  // all before the first copy: a load between two copies makes them wait
#pragma unroll
    for (int i = 0; i < INPUT_ROUNDS; ++i) offsets[i] = table[STEP + i * INPUT_ROWS + first];
#pragma unroll
    for (int i = 0; i < INPUT_ROUNDS; ++i) {
        copy_channels(to + i * INPUT_ROWS * IN_PITCH, work.images, offsets[i], work.first_in + part * 4, work.in_channels);
    }
}

// Makes dLoss/dA and dLoss/dS of what this thread copied.
DEVICE void derive(const Work& work, const int* table, float4* stage) {
    const Spikes& of = work.of;
    const unsigned* const winners = (const unsigned*)(stage + WINNERS);
    each_neuron_piece([&](int piece, int pixel, int part) {
        float4 *const grad = stage + piece, *const x = stage + NEURON_PIECES + piece, *const sum = stage + SUMS + piece;
        const unsigned lost = POOLED ? differing_bytes(winners[pixel * (OUT / 4) + part], table[DERIVED + pixel]) : 0u;
        const float4 grads = *grad, none = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        const float4 xs = FIRES ? *x : none, sums = FIRES && HAS_SUM ? *sum : none;
        const float each_grad[4] = {grads.x, grads.y, grads.z, grads.w}, each_x[4] = {xs.x, xs.y, xs.z, xs.w};
        const float each_sum[4] = {sums.x, sums.y, sums.z, sums.w};
        unsigned to_drive[4], to_sum[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const float own = lost & 255u << 8 * k ? 0.0f : each_grad[k];
            Outgoing<float> outgoing = {own, of.derivative.slope * of.derivative.t_win * own};
            if (FIRES) outgoing = outgoing_gradient<float>(of.derivative, own, each_x[k], each_sum[k]);
            to_drive[k] = round_to_tf32(outgoing.to_drive);
            to_sum[k] = round_to_tf32(outgoing.to_sum);
        }
        if (HAS_SUM) {
            *(uint4*)grad = make_uint4(to_drive[0], to_drive[1], to_sum[0], to_sum[1]);
            *(uint4*)sum = make_uint4(to_drive[2], to_drive[3], to_sum[2], to_sum[3]);
        } else {
            *(uint4*)grad = make_uint4(to_drive[0], to_drive[1], to_drive[2], to_drive[3]);
        }
    });
}

// A lane's sums.
struct Sums {
    float of[STRIPS * TAPS][WARP_OUT][WARP_IN][4];

    static constexpr int FOURS = STRIPS * TAPS * WARP_OUT * WARP_IN;
    // Runs body(sums of four, number) for all of them.
    template <typename Body>
    DEVICE_MEMBER void each_four(const Body& body) {
#pragma unroll
        for (int i = 0; i < FOURS; ++i) body(of[i / (WARP_OUT * WARP_IN)][i / WARP_IN % WARP_OUT][i % WARP_IN], i);
    }
};

// Of every 8 pixels a lane has two neighbours, 2 (lane % 4) and the next. A product sums over a tensor core's 8 terms: with
// HAS_SUM x dLoss/dA and m dLoss/dS of one of each lane's two, else x dLoss/dA of both. A lane's rows of the fragments of 16
// output channels are neighbours, lane / 4 * 2 and the next, and so are its columns of two fragments of 8 input channels.
DEVICE void load_gradients(unsigned (&to)[WARP_OUT][4], const float4* row) {
    const int pair = lane() / 4;
#pragma unroll
    for (int i = 0; i < WARP_OUT; ++i) {
        const float4* const from = row + i * 4 + pair / 2;
        if (HAS_SUM) {
            load_fragment(to[i], from + pair % 2 * SUMS);
        } else {
            const uint2 first = *((const uint2*)from + pair % 2), second = *((const uint2*)(from + OUT_PITCH) + pair % 2);
            to[i][0] = first.x;
            to[i][1] = first.y;
            to[i][2] = second.x;
            to[i][3] = second.y;
        }
    }
}

// What the two pixels' taps see, and its mask; those of the second begin SECOND behind those of the first.
#define SECOND (PAIRED ? 1 : TAPS)
struct Seen {
    unsigned x[SECOND + TAPS][WARP_IN], mask[SECOND + TAPS][WARP_IN];
};

// first, second: where the first tap of either is.
DEVICE void load_seen(Seen& to, const float4* first, const float4* second) {
#pragma unroll
    for (int i = 0; i < SECOND + TAPS; ++i) {
        const float4* const row = i < SECOND ? first + i * IN_PITCH : second + (i - SECOND) * IN_PITCH;
        float x[WARP_IN];
        if (WARP_IN == 2) {
            const float2 two = *(const float2*)row;
            x[0] = two.x;
            x[WARP_IN - 1] = two.y;
        } else {
            x[0] = *(const float*)row;
        }
#pragma unroll
        for (int j = 0; j < WARP_IN; ++j) {
            to.x[i][j] = round_to_tf32_at_once(x[j]);
            to.mask[i][j] = __float_as_uint(x[j] != 0.0f ? 1.0f : 0.0f);
        }
    }
}

// Adds a strip's products; of HAS_SUM, those of one of the two pixels.
DEVICE void multiply_strip(Sums& sums, int strip, const unsigned (&gradients)[WARP_OUT][4], const Seen& seen, int pixel) {
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
#pragma unroll
        for (int j = 0; j < WARP_IN; ++j) {
            const int first = pixel * SECOND + tap;
            const unsigned second = HAS_SUM ? seen.mask[first][j] : seen.x[SECOND + tap][j];
#pragma unroll
            for (int i = 0; i < WARP_OUT; ++i) {
                multiply_tf32(sums.of[strip * TAPS + tap][i][j], gradients[i], seen.x[first][j], second);
            }
        }
    }
}

DEVICE void store_sums(const Work& work, int warp_out, int warp_in, const Sums& sums, float* grad_weights) {
#pragma unroll
    for (int i = 0; i < Sums::FOURS; ++i) {
        const int strip = work.first_strip + i / (TAPS * WARP_OUT * WARP_IN);
        const int tap_y = strip / work.strips(), tap_x = strip % work.strips() * TAPS + i / (WARP_OUT * WARP_IN) % TAPS;
        const int out = work.first_out + warp_out + i / WARP_IN % WARP_OUT * 16 + lane() / 4 * 2;
        const float(&four)[4] = sums.of[i / (WARP_OUT * WARP_IN)][i / WARP_IN % WARP_OUT][i % WARP_IN];
        if (tap_y >= work.kernel_h || tap_x >= work.kernel_w) continue;
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            const int in = work.first_in + warp_in + (lane() % 4 * 2 + k) * WARP_IN + i % WARP_IN;
            if (in >= work.in_channels) continue;
            const int row = (tap_y * work.kernel_w + tap_x) * work.in_channels + in;
            float* const to = grad_weights + row * work.of.channels + out;
            if (out < work.of.channels) to[0] = four[k];
            if (out + 1 < work.of.channels) to[1] = four[k + 2];
        }
    }
}

// grad, output, weight_sum (null where psp_slope is 0) and winner: as for tensorcore_data_gradient; images (N, in_h, in_w,
// in_channels) -> grad_weights (kernel_h, kernel_w, in_channels, channels). With ranges > 1: parts and arrived, as in
// arrivals.h. pixels: N height width.
KERNEL void __launch_bounds__(THREADS, 1) tensorcore_weight_gradient(
    const float* __restrict__ images, const float* __restrict__ grad, const float* __restrict__ earliness,
    const float* __restrict__ OPTIONAL weight_sum, const unsigned char* __restrict__ OPTIONAL winner,
    const float* __restrict__ psp_slope, float scale, float t_win, float grad_clip,
    float* __restrict__ grad_weights, float* OPTIONAL parts, int* OPTIONAL arrived, int ranges, int range_pixels, int pixels,
    int in_h, int in_w, int in_channels, int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w,
    int height, int width, int channels) {
    const int out_blocks = (channels + OUT - 1) / OUT, in_blocks = (in_channels + IN - 1) / IN;
    const Share share = share_of(ranges);
    Work work;
    work.of = {grad, earliness, HAS_SUM ? weight_sum : earliness, winner, height, width, channels,
               {HAS_SUM ? *psp_slope : 0.0f, scale, t_win, grad_clip, SEPARATE}};
    work.images = images;
    work.in_h = in_h, work.in_w = in_w, work.in_channels = in_channels, work.kernel_h = kernel_h, work.kernel_w = kernel_w;
    work.stride_h = stride_h, work.stride_w = stride_w, work.padding_h = padding_h, work.padding_w = padding_w;
    work.first_out = share.tile % out_blocks * OUT;
    work.first_in = share.tile / out_blocks % in_blocks * IN;
    work.first_strip = share.tile / out_blocks / in_blocks * STRIPS;
    work.first_pixel = share.range * range_pixels;
    work.last_pixel = work.first_pixel + range_pixels < pixels ? work.first_pixel + range_pixels : pixels;
    work.tables = (int*)dynamic_shared;
    const int turns = (work.last_pixel - work.first_pixel + STEP - 1) / STEP + 2;
    const int warp = threadIdx.x / WARP, warp_in = warp % WARPS_IN * 8 * WARP_IN;
    const int warp_out = WARPS_OUT == 1 ? 0 : warp / WARPS_IN * 16 * WARP_OUT;
    // a lane's: pieces from the first of a step's gradients, and bytes from the first of its inputs
    const unsigned own_gradients = lane() % 4 * 2 * OUT_PITCH + warp_out / 4;
    const unsigned own_inputs = (warp_in + lane() / 4 * WARP_IN) * sizeof(float);

    Sums sums;
    sums.each_four([](float(&four)[4], int) { four[0] = four[1] = four[2] = four[3] = 0.0f; });
    float4* const neurons = dynamic_shared + TABLES * TABLE / 4;
    float4* const inputs = neurons + NEURON_STAGES * NEURON_STAGE;
    // which of the stages; as numbers of pieces, which take fewer registers than pointers
    unsigned copied = 0, derived = NEURON_STAGE, multiplied = 2 * NEURON_STAGE, copied_inputs = 0;
    clear_tables(work);
    __syncthreads();
    fill_tables(work, 0);
    __syncthreads();
    const int* table = work.tables;
    copy_neurons(work, table, neurons + derived);
    end_copy_group();
    table += TABLE;
    copy_neurons(work, table, neurons + copied);
    copy_inputs(work, table, inputs + copied_inputs);
    end_copy_group();
    await_copy_groups<1>();
    derive(work, table, neurons + derived);
    int turn = 2;
    for (int run = 0; turn < turns; ++run) {
        fill_tables(work, run + 1);
        table = table_of(work, turn);
        const int end = turns < (run + 1) * RUN ? turns : (run + 1) * RUN;
        for (; turn < end; ++turn) {
            const unsigned free = multiplied;
            multiplied = derived, derived = copied, copied = free, copied_inputs = INPUT_STAGE - copied_inputs;
            await_copy_groups<0>();
            __syncthreads();  // all of the step is there for all, and nobody reads what is overwritten next
            const float4* const gradients_of = neurons + (multiplied + own_gradients);
            const unsigned* const places = (const unsigned*)table + SEEN + lane() % 4 * 2;
#pragma unroll
            for (int k = 0; k < STEP; k += 8) {
                const float4* const first = (const float4*)((const char*)inputs + (own_inputs + places[k]));
                const float4* const second = (const float4*)((const char*)inputs + (own_inputs + places[k + 1]));
                Seen seen[STRIPS];
#pragma unroll
                for (int strip = 0; strip < STRIPS; ++strip) {
                    const float4* const own = first + strip * HALO * IN_PITCH;
                    load_seen(seen[strip], own, PAIRED ? own + IN_PITCH : second + strip * HALO * IN_PITCH);
                }
#pragma unroll
                for (int pixel = 0; pixel < 1 + HAS_SUM; ++pixel) {
                    unsigned gradients[WARP_OUT][4];
                    load_gradients(gradients, gradients_of + (k + pixel) * OUT_PITCH);
#pragma unroll
                    for (int strip = 0; strip < STRIPS; ++strip) multiply_strip(sums, strip, gradients, seen[strip], pixel);
                    if (k || pixel) continue;
                    // among the products, where it costs the least; behind the last step it copies nothing
                    copy_inputs(work, table, inputs + copied_inputs);
                    copy_neurons(work, table, neurons + copied);
                    end_copy_group();
                }
            }
            derive(work, table, neurons + derived);
            table += TABLE;
        }
    }

    await_copy_groups<0>();
    if (!add_ranges(sums, (float4*)parts, arrived, share)) return;
    store_sums(work, warp_out, warp_in, sums, grad_weights);
}
