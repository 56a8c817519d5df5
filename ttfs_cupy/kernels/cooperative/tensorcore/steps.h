// The steps of a sum over pixels: what a block has of each in shared memory, and where it finds that. For
// tensorcore_weight_gradient.cu, whose constants these are.
//
// Taps are summed in strips, TAPS neighbours in a row of the kernel. What a strip sees of a step, its halo, is copied once:
// of each line of pixels, the taps of the first and then what each pixel's taps see beyond those of the last.
//
// Constants: HALO, its largest size in pixels; PAIRED, 1 where what pixels 2 i and 2 i + 1 of a step see is neighbours in
// it, for no line begins between them.

#define STEP 16
// A warp's fragments, of 16 output channels; WARP_IN are of 8 input channels.
#define WARP_OUT 4
#define OUT (16 * WARP_OUT * WARPS_OUT)
#define IN (8 * WARP_IN * WARPS_IN)
#define THREADS (WARP * WARPS_OUT * WARPS_IN)

// Rows of channels in pieces of 16 bytes; one more than needed, so that what lanes read together lies in different banks.
#define OUT_PITCH (OUT / 4 + 1)
#define IN_PITCH (IN / 4 + 1)

// Of a step's neurons, one after the other: dLoss/dx, x and S, and the winners. With HAS_SUM, dLoss/dA and dLoss/dS of four
// channels later take the places of dLoss/dx and S: of two channels each, so that one piece is what a lane multiplies. These
// places lie an odd number of pieces apart, or lanes would meet in a bank.
#define NEURON_PIECES (STEP * OUT_PITCH + 1)
#define SUMS (2 * NEURON_PIECES + 1)
#define WINNERS (3 * NEURON_PIECES + 1)
#define NEURON_STAGE (WINNERS + STEP * OUT / 16)
// Of its inputs, the halo of each strip. All threads together copy INPUT_ROWS pixels at a time, and the last time maybe
// some of nothing.
#define INPUT_ROWS (THREADS / (IN / 4))
#define INPUT_ROUNDS ((STRIPS * HALO + INPUT_ROWS - 1) / INPUT_ROWS)
#define HALOS (INPUT_ROUNDS * INPUT_ROWS)
#define INPUT_STAGE (HALOS * IN_PITCH)
#define NEURON_STAGES 3
#define INPUT_STAGES 2

// A turn's table: offsets of the neurons, and of the halos' pixels, that are copied; where the first tap of each pixel is
// that is multiplied, in bytes from the first halo; and places of the neurons that are derived, in their windows. Tables
// are made for RUN steps at a time, while those of the run before are used, and some threads may still be in the run before
// that.
#define SEEN (STEP + HALOS)
#define DERIVED (SEEN + STEP)
#define TABLE (DERIVED + STEP)
#define RUN 5
#define TABLES (3 * RUN)

struct Work {
    Spikes of;
    const float* images;
    int in_h, in_w, in_channels, kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
    int first_out, first_in, first_strip;
    int first_pixel, last_pixel;  // of the block's range; the last is the first beyond it
    int* tables;

    // Strips of a row of the kernel.
    DEVICE_MEMBER int strips() const { return (kernel_w + TAPS - 1) / TAPS; }
};

DEVICE int* table_of(const Work& work, unsigned turn) { return work.tables + turn % TABLES * TABLE; }

// What is copied to places in a halo that no pixel sees is not multiplied: nothing at first, later maybe what was seen there
// in an earlier step.
DEVICE void clear_tables(const Work& work) {
    for (int i = threadIdx.x; i < TABLES * TABLE; i += THREADS) work.tables[i] = NOWHERE;
}

// Where the gradients of the neurons at a pixel lie; of a joined pooling, 4 times their window's, plus their place there.
DEVICE int neuron_offset(const Spikes& of, int number, int image, int y, int x) {
    if (!POOLED) return number * of.channels;
    const int neuron = neuron_at(of, image, y, x);
    return neuron == OUTSIDE ? NOWHERE : neuron * of.channels * 4 + place_in_window(y, x);
}

// A thread for each pixel of the run's steps, and for each strip.
DEVICE void fill_tables(const Work& work, int run) {
    static_assert(RUN * STEP * STRIPS <= THREADS, "one thread for each");
    if (threadIdx.x >= RUN * STEP * STRIPS) return;
    const int step = run * RUN + threadIdx.x / (STEP * STRIPS), pixel = threadIdx.x % STEP;
    const unsigned first = work.first_pixel + step * STEP, number = first + pixel, width = work.of.width;
    const unsigned line = number / width, x = number % width, y = line % work.of.height, image = line / work.of.height;
    const bool there = number < work.last_pixel;
    // from one pixel to its neighbour in a line; the first of another line is further away
    const int advance = min(work.stride_w, TAPS);
    const int place = pixel * advance + (line - first / width) * (TAPS - advance);

    const int own_strip = threadIdx.x / STEP % STRIPS, strip = work.first_strip + own_strip;
    const int in_y = y * work.stride_h + strip / work.strips() - work.padding_h;
    const int in_x = x * work.stride_w + strip % work.strips() * TAPS - work.padding_w;
    const bool inside = there && in_y >= 0 && in_y < work.in_h;
    const int offset = ((image * work.in_h + in_y) * work.in_w + in_x) * work.in_channels;
    int* const inputs = table_of(work, step + 1) + STEP + own_strip * HALO + place;
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap) {
        const bool is_seen_before = pixel > 0 && x > 0 && tap < TAPS - advance;
        if (is_seen_before) continue;
        inputs[tap] = inside && in_x + tap >= 0 && in_x + tap < work.in_w ? offset + tap * work.in_channels : NOWHERE;
    }
    if (own_strip > 0) return;
    table_of(work, step)[pixel] = there ? neuron_offset(work.of, number, image, y, x) : NOWHERE;
    table_of(work, step + 1)[DERIVED + pixel] = place_in_window(y, x);
    // steps take turns in the stages of inputs
    table_of(work, step + 2)[SEEN + pixel] = (step % INPUT_STAGES * INPUT_STAGE + place * IN_PITCH) * (int)sizeof(float4);
}
