// dLoss/dw on tensor cores, in TF32: for each tap, the sum over pixels of x dLoss/dA + m dLoss/dS, a product of OUT output
// channels x IN input channels. Both gradients are formed as they enter (neuron.h) and the mask m = (x != 0) in registers; a
// pixel's two terms are neighbours in one sum.
//
// A block sums its taps over a range of the pixels, STEP at a time, in a ring of STAGES of asynchronous copies. Ranges are
// added up in a tree: each writes its sums, and whichever block comes last of FAN adds them in their order, so that bits do
// not depend on which it is.
//
// Constants: WARPS_OUT, WARPS_IN, WARPS_TAPS (a block's warps; each has 64 output channels, 16 input channels and TAPS
// taps), STAGES, FAN, VECTOR and WHOLE (as in copies.h), HAS_SUM (0 where psp_slope is 0), and FIRES, POOLED, SEPARATE (as
// in tensorcore_data_gradient.cu). Called by ttfs_cupy/convolution/tensorcore.py.

#include "operands.h"
#include "copies.h"
#include "winners.h"

#define STEP 16
// A warp's fragments, of 16 output channels and of 8 input channels.
#define WARP_OUT 4
#define WARP_IN 2
#define OUT (16 * WARP_OUT * WARPS_OUT)
#define IN (8 * WARP_IN * WARPS_IN)
#define BLOCK_TAPS (TAPS * WARPS_TAPS)
#define THREADS (WARP * WARPS_OUT * WARPS_IN * WARPS_TAPS)

// Rows of channels in pieces of 16 bytes; two more than needed, so that what lanes read together lies in different banks.
#define OUT_PITCH (OUT / 4 + 2)
#define IN_PITCH (IN / 4 + 2)

// Of a stage, one after the other: dLoss/dx, x and S of its neurons, the inputs that each tap sees, and the winners. With
// HAS_SUM, dLoss/dA and dLoss/dS of four channels later take the places of dLoss/dx and S: of two channels each, so that
// one piece is what a lane multiplies. These places lie an odd number of pieces apart, or lanes would meet in a bank.
#define NEURON_PIECES (STEP * OUT_PITCH + 1)
#define SUMS (2 * NEURON_PIECES + 1)
#define INPUTS (3 * NEURON_PIECES + 1)
#define INPUT_PIECES (BLOCK_TAPS * STEP * IN_PITCH)
#define WINNER_PIECES (STEP * OUT / 16)
#define STAGE_PIECES (INPUTS + INPUT_PIECES + WINNER_PIECES)

// All threads together copy so many rows of inputs at a time.
#define INPUT_ROWS (THREADS / (IN / 4))
#define INPUT_ROUNDS (BLOCK_TAPS * STEP / INPUT_ROWS)

// A table has a step's offsets: of its neurons, and of what each tap sees of them. Tables are made for a run of steps at a
// time, by all threads, one run ahead.
#define TABLE ((1 + BLOCK_TAPS) * STEP)
#define RUN (THREADS / TABLE)
#define TABLES (2 * RUN)

struct Work {
    Spikes of;
    const float* images;
    int in_h, in_w, in_channels, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    int first_out, first_in, first_tap;
    int first_pixel, last_pixel;  // of the block's range; the last is the first beyond it
    int* tables;
    float4* stages;
};

DEVICE int* table_of(const Work& work, unsigned step) { return work.tables + step % TABLES * TABLE; }
DEVICE float4* stage_of(const Work& work, unsigned step) { return work.stages + step % STAGES * STAGE_PIECES; }

// Where a neuron's gradients lie: its first channel; of a joined pooling, 4 times its window's, plus its place there.
DEVICE int neuron_offset(const Spikes& of, int image, int y, int x) {
    if (!POOLED) return ((image * of.height + y) * of.width + x) * of.channels;
    const int neuron = neuron_at(of, image, y, x);
    return neuron == OUTSIDE ? NOWHERE : neuron * of.channels * 4 + place_in_window(y, x);
}

DEVICE void fill_tables(const Work& work, int run) {
    if (threadIdx.x >= RUN * TABLE) return;
    const int step = run * RUN + threadIdx.x / TABLE, entry = threadIdx.x % TABLE;
    const int number = work.first_pixel + step * STEP + entry % STEP, tap = work.first_tap + entry / STEP - 1;
    const int x = number % work.of.width, y = number / work.of.width % work.of.height;
    const int image = number / (work.of.width * work.of.height);
    int offset = NOWHERE;
    if (number < work.last_pixel && tap < work.first_tap) {
        offset = neuron_offset(work.of, image, y, x);
    } else if (number < work.last_pixel && tap < work.kernel_h * work.kernel_w) {
        const int in_y = y * work.stride_h + tap / work.kernel_w - work.padding_h;
        const int in_x = x * work.stride_w + tap % work.kernel_w - work.padding_w;
        const bool inside = in_y >= 0 && in_y < work.in_h && in_x >= 0 && in_x < work.in_w;
        if (inside) offset = ((image * work.in_h + in_y) * work.in_w + in_x) * work.in_channels;
    }
    table_of(work, step)[entry] = offset;
}

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

DEVICE void copy_step(const Work& work, int step) {
    const int* const table = table_of(work, step);
    float4* const stage = stage_of(work, step);
    const Spikes& of = work.of;
    unsigned* const winners = (unsigned*)(stage + INPUTS + INPUT_PIECES);
    each_neuron_piece([&](int piece, int pixel, int part) {
        const int offset = table[pixel], channel = work.first_out + part * 4;
        const int at = in_gradients(offset);
        copy_channels(stage + piece, of.grad, at, channel, of.channels);
        if (!FIRES) return;
        copy_channels(stage + NEURON_PIECES + piece, of.earliness, at, channel, of.channels);
        if (HAS_SUM) copy_channels(stage + SUMS + piece, of.weight_sum, at, channel, of.channels);
        if (POOLED) copy_winners(of, winners + pixel * (OUT / 4) + part, at, channel);
    });
    static_assert(THREADS % (IN / 4) == 0 && BLOCK_TAPS * STEP % INPUT_ROWS == 0, "a thread's pieces are of the same channels");
    const int first = threadIdx.x / (IN / 4), part = threadIdx.x % (IN / 4);
    float4* const inputs = stage + INPUTS + first * IN_PITCH + part;
    int offsets[INPUT_ROUNDS];  // all before the first copy: a load between two copies makes them wait
#pragma unroll
    for (int i = 0; i < INPUT_ROUNDS; ++i) offsets[i] = table[STEP + i * INPUT_ROWS + first];
#pragma unroll
    for (int i = 0; i < INPUT_ROUNDS; ++i) {
        copy_channels(inputs + i * INPUT_ROWS * IN_PITCH, work.images, offsets[i], work.first_in + part * 4, work.in_channels);
    }
}

// Makes dLoss/dA and dLoss/dS of what this thread copied.
DEVICE void derive_step(const Work& work, int step) {
    const int* const table = table_of(work, step);
    float4* const stage = stage_of(work, step);
    const Spikes& of = work.of;
    const unsigned* const winners = (const unsigned*)(stage + INPUTS + INPUT_PIECES);
    each_neuron_piece([&](int piece, int pixel, int part) {
        float4 *const grad = stage + piece, *const x = stage + NEURON_PIECES + piece, *const sum = stage + SUMS + piece;
        const unsigned lost = POOLED ? differing_bytes(winners[pixel * (OUT / 4) + part], table[pixel] & 3) : 0u;
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

typedef float TapSums[WARP_OUT][WARP_IN][4];

// The products of PIXELS pixels, a tensor core's 8 terms: with HAS_SUM x dLoss/dA and m dLoss/dS of 4, else x dLoss/dA of 8. A
// lane has the pixel lane % 4 (and 4 more); its rows of the fragments of 16 output channels are neighbours, lane / 4 * 2 and
// the next, and so are its columns of the two fragments of 8 input channels.
#define PIXELS (HAS_SUM ? 4 : 8)

DEVICE void load_gradients(unsigned (&to)[WARP_OUT][4], const float4* row) {
    const int pair = lane() / 4;
#pragma unroll
    for (int i = 0; i < WARP_OUT; ++i) {
        const float4* const from = row + i * 4 + pair / 2;
        if (HAS_SUM) {
            load_fragment(to[i], from + pair % 2 * SUMS);
        } else {
            const uint2 near = *((const uint2*)from + pair % 2), far = *((const uint2*)(from + 4 * OUT_PITCH) + pair % 2);
            to[i][0] = near.x;
            to[i][1] = near.y;
            to[i][2] = far.x;
            to[i][3] = far.y;
        }
    }
}

DEVICE void multiply_tap(TapSums& sums, const unsigned (&gradients)[WARP_OUT][4], const float* inputs) {
    const float2 near = *(const float2*)inputs, far = HAS_SUM ? near : *(const float2*)(inputs + 4 * IN_PITCH * 4);
    const float x[WARP_IN][2] = {{near.x, far.x}, {near.y, far.y}};
#pragma unroll
    for (int j = 0; j < WARP_IN; ++j) {
        const unsigned first = round_to_tf32(x[j][0]);
        const unsigned second = HAS_SUM ? __float_as_uint(x[j][0] != 0.0f ? 1.0f : 0.0f) : round_to_tf32(x[j][1]);
#pragma unroll
        for (int i = 0; i < WARP_OUT; ++i) multiply_tf32(sums[i][j], gradients[i], first, second);
    }
}

// Runs body(sums of four, number) for all sums of a lane.
template <typename Body>
DEVICE void each_four(TapSums (&sums)[TAPS], const Body& body) {
#pragma unroll
    for (int i = 0; i < TAPS * WARP_OUT * WARP_IN; ++i) {
        body(sums[i / (WARP_OUT * WARP_IN)][i / WARP_IN % WARP_OUT][i % WARP_IN], i);
    }
}

// Whether this block is the last one to come of all `ranges`; sums are then those of all of them. parts: the sums of the
// ranges, then those of each FAN of them, and so on; arrived: as many counters, all 0, and so again; both for each tile.
DEVICE bool add_ranges(TapSums (&sums)[TAPS], float4* parts, int* arrived, int tile, int tiles, int range, int ranges) {
    const long long part_size = TAPS * WARP_OUT * WARP_IN * THREADS;
    while (ranges > 1) {
        float4* const own = parts + (range * tiles + tile) * part_size + threadIdx.x;
        each_four(sums, [&](const float(&four)[4], int i) {
            own[i * THREADS] = make_float4(four[0], four[1], four[2], four[3]);
        });
        const int parents = (ranges + FAN - 1) / FAN, parent = range / FAN, first = parent * FAN;
        const int count = min(ranges - first, FAN);
        int* const counter = arrived + parent * tiles + tile;
        __threadfence();
        __syncthreads();
        if (!__syncthreads_or(threadIdx.x == 0 && atomicAdd(counter, 1) == count - 1)) return false;
        __threadfence();
        each_four(sums, [&](float(&four)[4], int) { four[0] = four[1] = four[2] = four[3] = 0.0f; });
        for (int part = first; part < first + count; ++part) {
            const float4* const from = parts + (part * tiles + tile) * part_size + threadIdx.x;
            each_four(sums, [&](float(&four)[4], int i) {
                const float4 more = __ldcg(from + i * THREADS);
                four[0] += more.x, four[1] += more.y, four[2] += more.z, four[3] += more.w;
            });
        }
        if (threadIdx.x == 0) *counter = 0;
        parts += ranges * tiles * part_size;
        arrived += parents * tiles;
        range = parent;
        ranges = parents;
    }
    return true;
}

// Runs body(where in the weights, whether two output channels are there, sums of the two) for all sums of a lane.
template <typename Body>
DEVICE void each_weight_pair(const Work& work, int warp_out, int warp_in, int warp_tap, TapSums (&sums)[TAPS],
                             const Body& body) {
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
#pragma unroll
        for (int i = 0; i < WARP_OUT; ++i) {
#pragma unroll
            for (int j = 0; j < WARP_IN; ++j) {
#pragma unroll
                for (int k = 0; k < 2; ++k) {
                    const int out = work.first_out + warp_out + i * 16 + lane() / 4 * 2;
                    const int in = work.first_in + warp_in + (lane() % 4 * 2 + k) * 2 + j;
                    const int own_tap = work.first_tap + warp_tap + tap;
                    const bool there = own_tap < work.kernel_h * work.kernel_w && in < work.in_channels;
                    const int at = (own_tap * work.in_channels + in) * work.of.channels + out;
                    if (there && out < work.of.channels) {
                        body(at, out + 1 < work.of.channels, sums[tap][i][j][k], sums[tap][i][j][k + 2]);
                    }
                }
            }
        }
    }
}

// grad, output, weight_sum (null where psp_slope is 0) and winner: as for tensorcore_data_gradient; images (N, in_h, in_w,
// in_channels) -> grad_weights (kernel_h, kernel_w, in_channels, channels). With ranges > 1: parts and arrived, as add_ranges
// has them. pixels: N height width.
KERNEL void __launch_bounds__(THREADS, 1) tensorcore_weight_gradient(
    const float* __restrict__ images, const float* __restrict__ grad, const float* __restrict__ earliness,
    const float* __restrict__ OPTIONAL weight_sum, const unsigned char* __restrict__ OPTIONAL winner,
    const float* __restrict__ psp_slope, float scale, float t_win, float grad_clip,
    float* __restrict__ grad_weights, float* OPTIONAL parts, int* OPTIONAL arrived, int ranges, int range_pixels, int pixels,
    int in_h, int in_w, int in_channels, int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w,
    int height, int width, int channels) {
    const int out_blocks = (channels + OUT - 1) / OUT, in_blocks = (in_channels + IN - 1) / IN;
    const int tiles = gridDim.x / ranges, tile = blockIdx.x % tiles, range = blockIdx.x / tiles;
    Work work;
    work.of = {grad, earliness, HAS_SUM ? weight_sum : earliness, winner, height, width, channels,
               {HAS_SUM ? *psp_slope : 0.0f, scale, t_win, grad_clip, SEPARATE}};
    work.images = images;
    work.in_h = in_h, work.in_w = in_w, work.in_channels = in_channels, work.kernel_h = kernel_h, work.kernel_w = kernel_w;
    work.stride_h = stride_h, work.stride_w = stride_w, work.padding_h = padding_h, work.padding_w = padding_w;
    work.first_out = tile % out_blocks * OUT;
    work.first_in = tile / out_blocks % in_blocks * IN;
    work.first_tap = tile / out_blocks / in_blocks * BLOCK_TAPS;
    work.first_pixel = range * range_pixels;
    work.last_pixel = work.first_pixel + range_pixels < pixels ? work.first_pixel + range_pixels : pixels;
    work.tables = (int*)dynamic_shared;
    work.stages = dynamic_shared + TABLES * TABLE / 4;
    const int steps = (work.last_pixel - work.first_pixel + STEP - 1) / STEP;
    const int warp = threadIdx.x / WARP, warp_in = warp % WARPS_IN * 8 * WARP_IN;
    const int warp_out = WARPS_OUT == 1 ? 0 : warp / WARPS_IN % WARPS_OUT * 16 * WARP_OUT;
    const int warp_tap = WARPS_TAPS == 1 ? 0 : warp / WARPS_IN / WARPS_OUT * TAPS;

    TapSums sums[TAPS];
    each_four(sums, [&](float(&four)[4], int) { four[0] = four[1] = four[2] = four[3] = 0.0f; });
    static_assert(RUN >= STAGES - 1, "the first stages' tables are of the first run");
    fill_tables(work, 0);
    __syncthreads();
    for (int step = 0; step < STAGES - 1; ++step) {
        copy_step(work, step);
        end_copy_group();
    }
    for (int step = 0; step < steps;) {
        // the run before this one, whose tables these replace, is over for all
        fill_tables(work, step / RUN + 1);
        const int end = steps - step < RUN ? steps : step + RUN;
        for (; step < end; ++step) {
            await_copy_groups<STAGES - 2>();
            derive_step(work, step);
            __syncthreads();  // all of the step is there for all, and nobody reads what is overwritten next
            const float4* const stage = stage_of(work, step);
#pragma unroll
            for (int k = 0; k < STEP; k += PIXELS) {
                const int row = k + lane() % 4;
                const float4* const seen = stage + INPUTS + (warp_tap * STEP + row) * IN_PITCH;
                const float* const inputs = (const float*)seen + warp_in + lane() / 4 * 2;
                unsigned gradients[WARP_OUT][4];
                load_gradients(gradients, stage + row * OUT_PITCH + warp_out / 4);
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) multiply_tap(sums[tap], gradients, inputs + tap * STEP * IN_PITCH * 4);
                if (k == 0) {
                    // among the products, where it costs the least; behind the last step it copies nothing
                    copy_step(work, step + STAGES - 1);
                    end_copy_group();
                }
            }
        }
    }

    await_copy_groups<0>();
    if (!add_ranges(sums, (float4*)parts, arrived, tile, tiles, range, ranges)) return;
    each_weight_pair(work, warp_out, warp_in, warp_tap, sums, [&](int at, bool both, float first, float second) {
        grad_weights[at] = first;
        if (both) grad_weights[at + 1] = second;
    });
}
