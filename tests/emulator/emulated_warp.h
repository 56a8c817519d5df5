// Stands for cooperative/warp.h: the same names, signatures and layouts, which its first comment tells. All is done by
// the runtime. Fragments go there and back in registers, so that no hook is called for them.

#define WARP 32

// The launch's shared memory lies within a larger array, so that a step beyond either end is seen.
#define EMULATED_GUARD 65536
extern float4 emulated_dynamic_shared[];
#define dynamic_shared emulated_dynamic()
DEVICE float4* emulated_dynamic() {
    float4* first = emulated_dynamic_shared + EMULATED_GUARD / 16;
    // hides its alignment: what the compiler knows to be misaligned it reports as a range, not as one access
    asm("" : "+r"(first));
    return first;
}

struct EmulatedSum { float of[4]; };
struct EmulatedWords { unsigned of[4]; };

extern "C" {
void emulated_copy_async(void* shared, const void* from, int bytes, bool there);
void emulated_end_copy_group();
void emulated_await_copy_groups(int pending);
EmulatedSum emulated_multiply_halves(float s0, float s1, float s2, float s3, unsigned a0, unsigned a1, unsigned a2,
                                     unsigned a3, unsigned b0, unsigned b1);
EmulatedSum emulated_multiply_tf32(float s0, float s1, float s2, float s3, unsigned a0, unsigned a1, unsigned a2,
                                   unsigned a3, unsigned b0, unsigned b1);
EmulatedWords emulated_load_matrices(const void* row, bool transposed);
unsigned emulated_to_tf32(float value) __attribute__((const));
unsigned emulated_to_half(float value) __attribute__((const));
float emulated_from_half(unsigned half) __attribute__((const));
}

DEVICE void copy_async(float4* shared, const float* from, bool there) { emulated_copy_async(shared, from, 16, there); }
DEVICE void copy_async(float* shared, const float* from, bool there) { emulated_copy_async(shared, from, 4, there); }
DEVICE void end_copy_group() { emulated_end_copy_group(); }
template <int pending>
DEVICE void await_copy_groups() {
    emulated_await_copy_groups(pending);
}

#define EMULATED_MULTIPLY(name)                                                                                      \
    DEVICE void name(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {                            \
        const EmulatedSum next = emulated_##name(sum[0], sum[1], sum[2], sum[3], a[0], a[1], a[2], a[3], b0, b1);    \
        sum[0] = next.of[0], sum[1] = next.of[1], sum[2] = next.of[2], sum[3] = next.of[3];                          \
    }
EMULATED_MULTIPLY(multiply_halves)
EMULATED_MULTIPLY(multiply_tf32)

DEVICE void emulated_load_into(unsigned (&to)[4], const void* row, bool transposed) {
    const EmulatedWords words = emulated_load_matrices(row, transposed);
    to[0] = words.of[0], to[1] = words.of[1], to[2] = words.of[2], to[3] = words.of[3];
}
DEVICE void load_matrices(unsigned (&to)[4], const void* row) { emulated_load_into(to, row, false); }
DEVICE void load_matrices_transposed(unsigned (&to)[4], const void* row) { emulated_load_into(to, row, true); }

DEVICE unsigned to_tf32(float value) { return emulated_to_tf32(value); }
DEVICE unsigned to_halves(float low, float high) { return emulated_to_half(low) | emulated_to_half(high) << 16; }
DEVICE float low_half(unsigned halves) { return emulated_from_half(halves & 0xffff); }
DEVICE float high_half(unsigned halves) { return emulated_from_half(halves >> 16); }
DEVICE unsigned nonzero_halves(unsigned halves) {
    // as halves: 1 is 0x3c00, and -0 is 0
    return (halves & 0x7fff ? 0x3c00 : 0) | (halves & 0x7fff0000 ? 0x3c000000 : 0);
}
