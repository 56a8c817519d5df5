// A convolution as one matrix product on tensor cores, without a patch matrix. Its rows are channels, its columns pixels; a
// block of threads computes CHANNELS x PIXELS of it, a warp a part of that in fragments of 16 x 8.
//
// The sum runs over chunks of 16 channels, and in each over the kernel's taps. What a block's pixels see of a chunk, the
// halo, is copied to shared memory once, converted there to what the tensor cores multiply, and read by all taps. Pixels
// lie in it as in the images, in lines as wide as a padded image; images follow one another, so consecutive pixels of the
// product see consecutive lines wherever they lie. Weights come through a ring of STAGES stages of TAPS taps each. All
// copies are asynchronous: a stage's weights and the next chunk's halo travel while tensor cores work.
//
// The order of the 16 channels in a product is free, if both factors have the same: a lane's four channels are
// neighbours, so that it loads them as one piece of 16 bytes, and registers need no sorting.
//
// Constants of a variant: WARP_CHANNELS and WARP_PIXELS (a warp's fragments), WARPS_DOWN and WARPS_ACROSS (a block's
// warps), STAGES, TAPS, ROWS (1 where a stage's taps are a row of the kernel: neighbours in the halo, so that the compiler
// knows where, and may mix them), and those of copies.h.

#define CHUNK 16
#define PIECES (CHUNK / 4)
#define THREADS (WARP * WARPS_DOWN * WARPS_ACROSS)
#define CHANNELS (16 * WARP_CHANNELS * WARPS_DOWN)
#define PIXELS (8 * WARP_PIXELS * WARPS_ACROSS)
// The weights of 16 output channels for a chunk, and what a stage holds of them: in pieces of 16 bytes.
#define FRAGMENT (2 * WARP)
#define TAP_PIECES (CHANNELS / 16 * FRAGMENT)
#define STAGE_PIECES (TAPS * TAP_PIECES)

// Taps between two settlements of sums; a multiple of TAPS, which is 1 or 3.
#define LONGEST_RUN 9

// A kernel that slides over images (N, height, width, channels), their pixels `spread` apart with nothing in between,
// `padding` of nothing around them, to pixels (N, out_h, out_w). With pooled_out, these are in the order of their 2x2
// windows; with pooled_in, the images' arrays hold one pixel for each of their 2x2 windows.
struct Sliding {
    int height, width, channels;
    int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, spread_h, spread_w;
    int out_h, out_w;
    bool pooled_out, pooled_in;

    DEVICE_MEMBER int taps() const { return kernel_h * kernel_w; }
    // Of one image in the halo: as wide, and as high, as the kernel's way over it.
    DEVICE_MEMBER int halo_width() const { return (out_w - 1) * stride_w + kernel_w; }
    DEVICE_MEMBER int halo_height() const { return (out_h - 1) * stride_h + kernel_h; }
};

struct OutPixel {
    int image, y, x;
};

DEVICE OutPixel out_pixel(const Sliding& of, int number) {
    if (!of.pooled_out) return {number / (of.out_h * of.out_w), number / of.out_w % of.out_h, number % of.out_w};
    const int window = number / 4, width = of.out_w / 2, height = of.out_h / 2;
    return {window / (width * height), window / width % height * 2 + number / 2 % 2, window % width * 2 + number % 2};
}

// The first line of the halo that a pixel's taps see.
DEVICE int first_line(const Sliding& of, const OutPixel& pixel) {
    return pixel.image * of.halo_height() + pixel.y * of.stride_h;
}

// A block's part of the product, and how its shared memory is divided (in this order).
struct Block {
    int first_channel, first_pixel, warp_channel, warp_pixel;
    int first_chunk, last_chunk;  // that it sums over; the last is the first beyond them
    int line, lines;  // of the halo
    int halo_pixels;  // the largest halo of any block, for which there is room
    int* offsets;     // in the images, of each pixel of the halo (its first channel); NOWHERE outside. With pooled_in,
                      // of its window: 4 times that, plus its place in the window
    int* tap_pieces;  // from a piece in the halo to the one that a tap sees; with ROWS it is not needed
    float4 *halo, *ring, *behind_ring;
};

#define TABLE_PIECES(halo_pixels, taps) (((halo_pixels) + (taps) + 3) / 4)

// Blocks that differ only in their channels follow one another: they read the same halo.
DEVICE Block block_of(const Sliding& of, int number, int pixels, int out_channels, int halo_pixels) {
    const int warp = threadIdx.x / WARP, channel_blocks = (out_channels + CHANNELS - 1) / CHANNELS;
    Block block;
    block.first_channel = number % channel_blocks * CHANNELS;
    block.first_pixel = number / channel_blocks * PIXELS;
    block.first_chunk = 0;
    block.last_chunk = (of.channels + CHUNK - 1) / CHUNK;
    block.warp_channel = warp / WARPS_ACROSS * 16 * WARP_CHANNELS;
    block.warp_pixel = warp % WARPS_ACROSS * 8 * WARP_PIXELS;
    const int last_pixel = block.first_pixel + PIXELS < pixels ? block.first_pixel + PIXELS - 1 : pixels - 1;
    block.line = first_line(of, out_pixel(of, block.first_pixel));
    block.lines = first_line(of, out_pixel(of, last_pixel)) + of.kernel_h - block.line;
    block.halo_pixels = halo_pixels;
    block.offsets = (int*)dynamic_shared;
    block.tap_pieces = block.offsets + halo_pixels;
    block.halo = dynamic_shared + TABLE_PIECES(halo_pixels, of.taps());
    block.ring = block.halo + 2 * halo_pixels * PIECES;
    block.behind_ring = block.ring + STAGES * STAGE_PIECES;
    return block;
}

// Where a position of the images with their padding lies in them; NOWHERE if nothing is there.
DEVICE int position_in_image(int position, int padding, int spread, int size) {
    const int spread_position = position - padding, inside = spread_position / spread;
    return spread_position >= 0 && spread_position % spread == 0 && inside < size ? inside : NOWHERE;
}

DEVICE int offset_in_images(const Sliding& of, int image, int y, int x) {
    if (!of.pooled_in) return ((image * of.height + y) * of.width + x) * of.channels;
    const int height = of.height / 2, width = of.width / 2;
    if (y / 2 >= height || x / 2 >= width) return NOWHERE;  // beyond the last whole window
    return ((image * height + y / 2) * width + x / 2) * of.channels * 4 + place_in_window(y, x);
}

DEVICE void fill_tables(const Sliding& of, const Block& block) {
    const int width = of.halo_width(), height = of.halo_height(), taps = of.taps();
    for (int pixel = threadIdx.x; pixel < block.lines * width; pixel += THREADS) {
        const int line = block.line + pixel / width, image = line / height;
        const int y = position_in_image(line % height, of.padding_h, of.spread_h, of.height);
        const int x = position_in_image(pixel % width, of.padding_w, of.spread_w, of.width);
        block.offsets[pixel] = y == NOWHERE || x == NOWHERE ? NOWHERE : offset_in_images(of, image, y, x);
    }
    for (int tap = threadIdx.x; !ROWS && tap < taps; tap += THREADS) {
        block.tap_pieces[tap] = (tap / of.kernel_w * width + tap % of.kernel_w) * PIECES;
    }
}

// A lane's sums of a warp's fragments.
typedef float Sums[WARP_CHANNELS][WARP_PIXELS][4];

DEVICE void clear_sums(Sums& sums) {
#pragma unroll
    for (int i = 0; i < WARP_CHANNELS; ++i) {
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
#pragma unroll
            for (int k = 0; k < 4; ++k) sums[i][j][k] = 0.0f;
        }
    }
}

DEVICE void move_sums(Sums& from, Sums& to) {
#pragma unroll
    for (int i = 0; i < WARP_CHANNELS; ++i) {
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
#pragma unroll
            for (int k = 0; k < 4; ++k) to[i][j][k] += from[i][j][k];
        }
    }
    clear_sums(from);
}

// Runs body(piece, tap, piece of the tap) for this thread's pieces of a stage's weights.
template <typename Body>
DEVICE void each_weight_piece(const Body& body) {
#pragma unroll
    for (int start = 0; start < STAGE_PIECES; start += THREADS) {
        const int piece = start + threadIdx.x;
        if (STAGE_PIECES % THREADS == 0 || piece < STAGE_PIECES) body(piece, piece / TAP_PIECES, piece % TAP_PIECES);
    }
}

// The whole product of a block. Operand:
//   copy(piece, offset, channel, halo)        starts to copy a piece of the halo
//   convert(piece, offset, halo)              makes of it what is multiplied, once it is there; the thread that copied it does
//   copy_weights(slot, chunk, tap, count)     starts to copy the weights of `count` taps, from `tap` on
//   IN_FLIGHT                                 stages, 0 or 1, whose products may still run when a warp begins another
//   seen_pixel(j)                             the pixel of the warp's that is a lane's j-th
//   show_weights()                            makes weights that have come visible to the products of others
//   multiply(halo, seen, weights, number)     adds the products of a stage's tap of that number: a lane's piece of its j-th
//                                             pixel lies seen[j] bytes behind halo; weights, those of the warp's channels
//   end_stage(count)                          after so many taps
//   settle()                                  adds up short sums; is called after every 9 taps or so
template <typename Operand>
DEVICE void multiply_block(Operand& operand, const Sliding& of, const Block& block, int pixels) {
    const int taps = of.taps(), groups = (taps + TAPS - 1) / TAPS;
    // weights are copied so many stages ahead: what products in flight read is not overwritten
    constexpr int AHEAD = STAGES - 1 - Operand::IN_FLIGHT;
    const int stages = groups * (block.last_chunk - block.first_chunk);
    const int width = of.halo_width(), halo_pieces = block.lines * width * PIECES;

    unsigned seen[WARP_PIXELS];  // a lane's piece of what its pixels' first tap sees, in bytes from the halo's first
#pragma unroll
    for (int j = 0; j < WARP_PIXELS; ++j) {
        const int number = block.first_pixel + block.warp_pixel + operand.seen_pixel(j);
        const OutPixel pixel = out_pixel(of, number < pixels ? number : block.first_pixel);
        const int piece = ((first_line(of, pixel) - block.line) * width + pixel.x * of.stride_w) * PIECES + lane() % 4;
        seen[j] = (unsigned)piece * sizeof(float4);
    }

    fill_tables(of, block);
    __syncthreads();
    float4 *halo = block.halo, *next_halo = halo + block.halo_pixels * PIECES;
    const auto copy_halo = [&](int chunk, float4* to) {
        for (int piece = threadIdx.x; piece < halo_pieces; piece += THREADS) {
            operand.copy(piece, block.offsets[piece / PIECES], chunk * CHUNK + piece % PIECES * 4, to);
        }
    };

    int ahead = 0, ahead_chunk = block.first_chunk, ahead_tap = 0;  // the stage whose weights are copied next
    const auto copy_stage = [&]() {
        float4* const slot = block.ring + ahead % STAGES * STAGE_PIECES;
        if (ahead < stages) operand.copy_weights(slot, ahead_chunk, ahead_tap, taps - ahead_tap);
        ++ahead;
        ahead_tap += TAPS;
        if (ahead_tap >= taps) ahead_tap = 0, ++ahead_chunk;
    };

    copy_halo(block.first_chunk, halo);
    for (int stage = 0; stage < AHEAD; ++stage) {
        copy_stage();
        end_copy_group();
    }
    const int first_weights = block.warp_channel / 16 * FRAGMENT;
    int stage = 0, unsettled = 0;
    for (int chunk = block.first_chunk; chunk < block.last_chunk; ++chunk) {
        // the halo belongs to the group that was begun AHEAD stages behind the start of the chunk before
        if (groups < AHEAD) {
            await_copy_groups<0>();
        } else {
            await_copy_groups<AHEAD - 1>();
        }
        for (int piece = threadIdx.x; piece < halo_pieces; piece += THREADS) {
            operand.convert(piece, block.offsets[piece / PIECES], halo);
        }
        __syncthreads();  // nobody reads the other halo any more
        if (chunk + 1 < block.last_chunk) copy_halo(chunk + 1, next_halo);

        for (int first_tap = 0; first_tap < taps;) {
            const int run = taps - first_tap < LONGEST_RUN ? taps : first_tap + LONGEST_RUN;
            unsettled += run - first_tap;
            for (; first_tap < run; first_tap += TAPS) {
                await_copy_groups<AHEAD - 1>();
                operand.show_weights();
                __syncthreads();  // the stage's copies are there for all, and nobody reads what is overwritten next
                copy_stage();
                end_copy_group();
                const float4* const fragments = block.ring + stage % STAGES * STAGE_PIECES + first_weights;
                const float4* const row = halo + first_tap / TAPS * width * PIECES;
#pragma unroll
                for (int i = 0; i < TAPS; ++i) {
                    // not break: ptxas would then see a tap that loads what the products of the one before read, and
                    // let them wait for each other (C7513)
                    if (!ROWS && first_tap + i >= taps) continue;
                    const float4* const first_seen = ROWS ? row + i * PIECES : halo + block.tap_pieces[first_tap + i];
                    operand.multiply(first_seen, seen, fragments + i * TAP_PIECES, i);
                }
                operand.end_stage(taps - first_tap);
                ++stage;
            }
            if (unsettled + taps > LONGEST_RUN) {
                operand.settle();
                unsettled = 0;
            }
        }
        float4* const other = next_halo;
        next_halo = halo;
        halo = other;
    }
    operand.settle();
}

// Fragment i of channels and j of pixels of a warp: a lane has two neighbouring channels (packed so) of two neighbouring
// pixels, sum[0] and sum[2] of the first and sum[1] and sum[3] of the second.
DEVICE int lane_channel(const Block& block, int i) {
    return block.first_channel + block.warp_channel + i * 16 + lane() / 4 * 2;
}
DEVICE int lane_pixel(const Block& block, int j) {
    return block.first_pixel + block.warp_pixel + j * 8 + lane() % 4 * 2;
}

// Two neighbouring channels of a pixel, the second of which may not be there.
DEVICE void store_pair(float* array, int pixel, int channels, int channel, float first, float second) {
    float* const to = array + (long long)pixel * channels + channel;
    if (WHOLE || channels % 2 == 0) {
        *(float2*)to = make_float2(first, second);
    } else {
        to[0] = first;
        if (channel + 1 < channels) to[1] = second;
    }
}
