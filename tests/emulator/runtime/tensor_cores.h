// Matrix fragments, laid out as PTX says ("Matrix Fragments for mma", "ldmatrix"), and the products of them.
//
// Products of the operands are exact. How tensor cores add them is not documented; measured (Fasi et al., "Numerical
// behavior of NVIDIA tensor cores", 2021), they add with few extra bits and truncate. Here they are added in double and
// the sum is rounded toward zero to a float.

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float half_value(uint32_t half) {
    const uint32_t magnitude = half & 0x7fff, sign = (half & 0x8000) << 16;
    const uint32_t subnormal = bits_of((float)(int)magnitude * 0x1p-24f);
    const uint32_t normal = (magnitude << 13) + (112 << 23);  // the exponent's biases differ by 112
    const uint32_t special = magnitude << 13 | 0x7f800000;    // infinity or NaN
    return float_of((magnitude < 0x400 ? subnormal : magnitude < 0x7c00 ? normal : special) | sign);
}

// Beyond the largest float lies infinity, from 2^128 on; what is no number becomes NVIDIA's NaN.
static inline float toward_zero(double value) {
    if (value != value) return float_of(0x7fffffff);
    const float nearest = (float)value;
    const double size = __builtin_fabs(value);
    const bool too_large = __builtin_fabs((double)nearest) > size && size < 0x1p128;
    return float_of(bits_of(nearest) - (uint32_t)too_large);  // one less is the next float of a smaller magnitude
}

// The lanes' sums += a b, K the instruction's depth; lane l's are of rows l / 4 and 8 more, columns 2 (l % 4) and 1
// more.
template <int K>
static void add_product(float (&lanes)[LANES_PER_WARP][4], const double (&a)[16][K], const double (&b)[K][8]) {
    double sums[16][8];
    float rounded[16][8];
    for (int lane = 0; lane < LANES_PER_WARP; ++lane)
        for (int i = 0; i < 4; ++i) sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = lanes[lane][i];
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < K; ++k)
            for (int column = 0; column < 8; ++column) sums[row][column] += a[row][k] * b[k][column];
    for (int row = 0; row < 16; ++row)
        for (int column = 0; column < 8; ++column) rounded[row][column] = toward_zero(sums[row][column]);
    for (int lane = 0; lane < LANES_PER_WARP; ++lane)
        for (int i = 0; i < 4; ++i) lanes[lane][i] = rounded[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
}

template <int K>
static void add_product_of(Warp& warp, const double (&a)[16][K], const double (&b)[K][8]) {
    float sums[LANES_PER_WARP][4];
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) memcpy(sums[lane], warp.lanes[lane].sums, sizeof sums[lane]);
    add_product(sums, a, b);
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) memcpy(warp.lanes[lane].sums, sums[lane], sizeof sums[lane]);
}

// All at once, for the compiler to use vectors.
template <int count>
static void values_of_halves(const uint32_t (&words)[count], float (&low)[count], float (&high)[count]) {
    for (int i = 0; i < count; ++i) low[i] = half_value(words[i] & 0xffff), high[i] = half_value(words[i] >> 16);
}

// Of 4 words of each lane.
static void left_factor(const uint32_t (&words)[LANES_PER_WARP * 4], double (&a)[16][16]) {
    float low[LANES_PER_WARP * 4], high[LANES_PER_WARP * 4];
    values_of_halves(words, low, high);
    for (int lane = 0; lane < LANES_PER_WARP; ++lane)
        for (int i = 0; i < 4; ++i) {
            double* to = &a[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8];
            to[0] = low[lane * 4 + i], to[1] = high[lane * 4 + i];
        }
}

static void multiply_halves_of_warp(Warp& warp, uint32_t who) {
    check_whole_warp(warp, who, "multiply_halves");
    uint32_t left[LANES_PER_WARP * 4], right[LANES_PER_WARP * 2];
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        memcpy(left + lane * 4, warp.lanes[lane].words, 4 * sizeof *left);
        memcpy(right + lane * 2, warp.lanes[lane].words + 4, 2 * sizeof *right);
    }
    float low[LANES_PER_WARP * 2], high[LANES_PER_WARP * 2];
    values_of_halves(right, low, high);
    double a[16][16], b[16][8];
    left_factor(left, a);
    for (int lane = 0; lane < LANES_PER_WARP; ++lane)
        for (int i = 0; i < 2; ++i) {
            const int column = lane / 4, pair = lane % 4 * 2;
            b[pair + i * 8][column] = low[lane * 2 + i];
            b[pair + i * 8 + 1][column] = high[lane * 2 + i];
        }
    add_product_of(warp, a, b);
    ++outcome->halves_products;
}

// The hardware ignores the 13 bits that a TF32 number does not have.
static double tf32_value(uint32_t bits) { return float_of(bits & 0xffffe000); }

static void multiply_tf32_of_warp(Warp& warp, uint32_t who) {
    check_whole_warp(warp, who, "multiply_tf32");
    double a[16][8], b[8][8];
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        const unsigned* words = warp.lanes[lane].words;
        const int row = lane / 4, pair = lane % 4;
        for (int i = 0; i < 4; ++i) a[row + i % 2 * 8][pair + i / 2 * 4] = tf32_value(words[i]);
        for (int i = 0; i < 2; ++i) b[pair + i * 4][row] = tf32_value(words[4 + i]);
    }
    add_product_of(warp, a, b);
    ++outcome->tf32_products;
}

struct Sum { float of[4]; };
struct Words { unsigned of[4]; };

#define MULTIPLY(name)                                                                                               \
    extern "C" Sum emulated_##name(float s0, float s1, float s2, float s3, unsigned a0, unsigned a1, unsigned a2,    \
                                   unsigned a3, unsigned b0, unsigned b1) {                                          \
        Lane& mine = my_warp().lanes[my_lane()];                                                                     \
        mine.sums[0] = s0, mine.sums[1] = s1, mine.sums[2] = s2, mine.sums[3] = s3;                                  \
        mine.words[0] = a0, mine.words[1] = a1, mine.words[2] = a2, mine.words[3] = a3;                              \
        mine.words[4] = b0, mine.words[5] = b1;                                                                      \
        meet(#name, ALL_LANES, CALLER, name##_of_warp);                                                              \
        return {{mine.sums[0], mine.sums[1], mine.sums[2], mine.sums[3]}};                                           \
    }
MULTIPLY(multiply_halves)
MULTIPLY(multiply_tf32)

// Each lane's row as 8 halves; matrix m's rows are those of lanes 8 m and on.
static void distribute_matrices(Warp& warp, uint32_t who, bool transposed) {
    check_whole_warp(warp, who, "load_matrices");
    uint16_t rows[LANES_PER_WARP][8];
    WarpAccess access = {ALL_LANES, false, {}};
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        memcpy(rows[lane], warp.lanes[lane].row, sizeof rows[lane]);
        access.places[lane] = warp.lanes[lane].words[0];
    }
    count_access(instructions[instruction_number(warp.lanes[0].site, 16)], access);
    for (int lane = 0; lane < LANES_PER_WARP; ++lane)
        for (int matrix = 0; matrix < 4; ++matrix) {
            const int row = lane / 4, column = lane % 4 * 2;
            const uint16_t(*of)[8] = rows + matrix * 8;
            const uint32_t low = transposed ? of[column][row] : of[row][column];
            const uint32_t high = transposed ? of[column + 1][row] : of[row][column + 1];
            warp.lanes[lane].results[matrix] = low | high << 16;
        }
}

extern "C" Words emulated_load_matrices(const void* row, bool transposed) {
    const Site site = CALLER;
    const char* const name = transposed ? "load_matrices_transposed" : "load_matrices";
    if ((uintptr_t)row & 15) fail_misaligned(16, false, site);
    Access access;
    if (is_on_stack((uintptr_t)row) || !find_shared((uintptr_t)row, 16, false, site, access))
        fail("OutOfBounds", site, current->thread, 0, "%s from what is not shared memory", name);
    ++outcome->shared_accesses;
    check_shared(access);
    Lane& mine = my_warp().lanes[my_lane()];
    mine.row = row, mine.words[0] = access.byte / 4;
    meet(name, ALL_LANES, site,
         transposed ? [](Warp& warp, uint32_t who) { distribute_matrices(warp, who, true); }
                    : [](Warp& warp, uint32_t who) { distribute_matrices(warp, who, false); });
    return {{mine.results[0], mine.results[1], mine.results[2], mine.results[3]}};
}

// cvt.rna.tf32: half of the last bit is added to the magnitude, which carries into the exponent as it should.
extern "C" unsigned emulated_to_tf32(float value) {
    const uint32_t bits = bits_of(value);
    return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & 0xffffe000;
}

// To the nearest half, ties to even.
extern "C" unsigned emulated_to_half(float value) {
    const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return 0x7fff;           // PTX's NaN
    if (magnitude >= 0x477ff000) return sign | 0x7c00;   // 65520 and more is infinity
    if (magnitude < 0x38800000)                          // below 2^-14 halves are multiples of 2^-24, a float's at 0.5
        return sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f));
    const uint32_t rebiased = magnitude - (112u << 23);
    return sign | (rebiased + 0xfff + (rebiased >> 13 & 1)) >> 13;
}

extern "C" float emulated_from_half(unsigned half) { return half_value(half); }
