// What a CUDA compiler knows by itself, for g++; cuda.h follows. -fsanitize=thread reports every access to memory to
// the runtime, which is not instrumented itself; what else CUDA offers a kernel the runtime does when it is called.
#include <math.h>

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// C++ does not allow its own after __shared__, where CUDA does
#define alignas(bytes) __align__(bytes)

// One array per kernel, found by its name in the library. `used`, or one that is never written would become a constant.
#define __shared__ static __attribute__((used, aligned(128)))

// Copied as a whole, so that a copy is one access, as wide as on the GPU. The constructors do what CUDA's braces do.
template <typename Element>
struct alignas(8) EmulatedVector2 {
    typedef Element Whole __attribute__((vector_size(8)));
    union {
        Whole whole;
        struct { Element x, y; };
    };
    constexpr EmulatedVector2() : whole{} {}
    constexpr EmulatedVector2(Element x, Element y) : whole{x, y} {}
    constexpr EmulatedVector2(const EmulatedVector2& other) : whole(other.whole) {}
    constexpr EmulatedVector2& operator=(const EmulatedVector2& other) { return whole = other.whole, *this; }
};
template <typename Element>
struct alignas(16) EmulatedVector4 {
    typedef Element Whole __attribute__((vector_size(16)));
    union {
        Whole whole;
        struct { Element x, y, z, w; };
    };
    constexpr EmulatedVector4() : whole{} {}
    constexpr EmulatedVector4(Element x, Element y, Element z, Element w) : whole{x, y, z, w} {}
    constexpr EmulatedVector4(const EmulatedVector4& other) : whole(other.whole) {}
    constexpr EmulatedVector4& operator=(const EmulatedVector4& other) { return whole = other.whole, *this; }
};
typedef EmulatedVector2<float> float2;
typedef EmulatedVector2<int> int2;
typedef EmulatedVector2<unsigned> uint2;
typedef EmulatedVector4<float> float4;
typedef EmulatedVector4<int> int4;
typedef EmulatedVector4<unsigned> uint4;
static __forceinline__ float2 make_float2(float x, float y) { return float2(x, y); }
static __forceinline__ int2 make_int2(int x, int y) { return int2(x, y); }
static __forceinline__ uint2 make_uint2(unsigned x, unsigned y) { return uint2(x, y); }
static __forceinline__ float4 make_float4(float x, float y, float z, float w) { return float4(x, y, z, w); }
static __forceinline__ int4 make_int4(int x, int y, int z, int w) { return int4(x, y, z, w); }
static __forceinline__ uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return uint4(x, y, z, w); }

// EmulatedPlace and the like are in runtime/shared_names.h.
extern "C" {
// A thread's place never changes while it lives, so that its number may be kept in a register: const.
unsigned emulated_place(EmulatedPlace what) __attribute__((const));
int emulated_barrier(int barrier, int threads, int line, bool value, EmulatedResult result);
void emulated_sync_warp(unsigned mask);
unsigned emulated_shuffle(unsigned mask, unsigned value, int from);
unsigned emulated_vote(unsigned mask, bool value, EmulatedResult result);
unsigned emulated_atomic(void* at, EmulatedAtomic operation, unsigned value, unsigned compared);
void emulated_fence();
void emulated_trap() __attribute__((noreturn));
}

struct EmulatedIndex { unsigned x, y, z; };
#define EMULATED_INDEX(of)                                                                                     \
    (EmulatedIndex{emulated_place(EmulatedPlace::of##_x), emulated_place(EmulatedPlace::of##_y),              \
                   emulated_place(EmulatedPlace::of##_z)})
#define threadIdx (EmulatedIndex{emulated_place(EmulatedPlace::thread), 0, 0})
#define blockDim (EmulatedIndex{emulated_place(EmulatedPlace::threads), 1, 1})
#define blockIdx EMULATED_INDEX(block)
#define gridDim EMULATED_INDEX(grid)

// The line tells one barrier from another, however often the compiler copied it.
#define __syncthreads() ((void)emulated_barrier(0, 0, __LINE__, false, EmulatedResult::nothing))
#define __syncthreads_or(value) emulated_barrier(0, 0, __LINE__, (value) != 0, EmulatedResult::any)
#define __syncthreads_and(value) emulated_barrier(0, 0, __LINE__, (value) != 0, EmulatedResult::all)
#define __syncthreads_count(value) emulated_barrier(0, 0, __LINE__, (value) != 0, EmulatedResult::count)
#define named_barrier(id, threads) ((void)emulated_barrier(id, threads, __LINE__, false, EmulatedResult::nothing))
#define __trap() emulated_trap()

#define __threadfence() emulated_fence()
// Threads of a block take turns on one processor, which orders what they do already.
static __forceinline__ void __threadfence_block() {}
static __forceinline__ void __syncwarp(unsigned mask = 0xffffffffu) { emulated_sync_warp(mask); }

// Arithmetic of NVIDIA's makes one NaN, 0x7fffffff, where x86's makes another. Whoever looks at the bits sees NVIDIA's.
static __forceinline__ unsigned __float_as_uint(float value) {
    return value != value ? 0x7fffffffu : __builtin_bit_cast(unsigned, value);
}
static __forceinline__ float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
static __forceinline__ int __float_as_int(float value) { return (int)__float_as_uint(value); }
static __forceinline__ float __int_as_float(int bits) { return __builtin_bit_cast(float, bits); }
static __forceinline__ int __popc(unsigned bits) { return __builtin_popcount(bits); }

// `width` lanes are a group, a power of two; a source outside of it is the lane itself, as in CUDA.
static __forceinline__ int emulated_lane() { return (int)(emulated_place(EmulatedPlace::thread) % 32); }
static __forceinline__ int emulated_last_lane(int width) { return emulated_lane() | (width - 1); }
template <typename Value>
static __forceinline__ Value emulated_shuffled(unsigned mask, Value value, int from) {
    static_assert(sizeof(Value) == 4 || sizeof(Value) == 8, "a shuffle takes a number of 4 or 8 bytes");
    if constexpr (sizeof(Value) == 4) {
        return __builtin_bit_cast(Value, emulated_shuffle(mask, __builtin_bit_cast(unsigned, value), from));
    } else {
        const auto bits = __builtin_bit_cast(unsigned long long, value);
        const unsigned low = emulated_shuffle(mask, (unsigned)bits, from);
        const unsigned high = emulated_shuffle(mask, (unsigned)(bits >> 32), from);
        return __builtin_bit_cast(Value, (unsigned long long)high << 32 | low);
    }
}
#define EMULATED_SHUFFLE(name, parameter, source)                                                              \
    template <typename Value>                                                                                  \
    static __forceinline__ Value name(unsigned mask, Value value, parameter, int width = 32) {                 \
        const int lane = emulated_lane(), first = lane & -width, last = emulated_last_lane(width), from = source; \
        const bool inside = from >= first && from <= last;                                                     \
        return emulated_shuffled(mask, value, inside ? from : lane);                                           \
    }
EMULATED_SHUFFLE(__shfl_sync, int source_lane, first + (source_lane & (width - 1)))
EMULATED_SHUFFLE(__shfl_up_sync, unsigned step, lane - (int)step)
EMULATED_SHUFFLE(__shfl_down_sync, unsigned step, lane + (int)step)

// An earlier group may be read, a later one not.
template <typename Value>
static __forceinline__ Value __shfl_xor_sync(unsigned mask, Value value, int bits, int width = 32) {
    const int lane = emulated_lane(), from = lane ^ bits;
    return emulated_shuffled(mask, value, from <= emulated_last_lane(width) ? from : lane);
}

#define EMULATED_VOTE(name, Type, result)                                             \
    static __forceinline__ Type name(unsigned mask, int value) {                      \
        return (Type)emulated_vote(mask, value != 0, EmulatedResult::result);         \
    }
EMULATED_VOTE(__ballot_sync, unsigned, ballot)
EMULATED_VOTE(__any_sync, int, any)
EMULATED_VOTE(__all_sync, int, all)

#define EMULATED_ATOMIC(name, Type, operation)                                             \
    static __forceinline__ Type name(Type* at, Type value) {                               \
        return (Type)emulated_atomic(at, operation, (unsigned)value, 0);                   \
    }
EMULATED_ATOMIC(atomicAdd, int, EmulatedAtomic::add)
EMULATED_ATOMIC(atomicAdd, unsigned, EmulatedAtomic::add)
EMULATED_ATOMIC(atomicMax, int, EmulatedAtomic::max_signed)
EMULATED_ATOMIC(atomicMax, unsigned, EmulatedAtomic::max_unsigned)
EMULATED_ATOMIC(atomicExch, int, EmulatedAtomic::exchange)
EMULATED_ATOMIC(atomicExch, unsigned, EmulatedAtomic::exchange)
static __forceinline__ int atomicCAS(int* at, int compared, int value) {
    return (int)emulated_atomic(at, EmulatedAtomic::compare_and_swap, (unsigned)value, (unsigned)compared);
}
static __forceinline__ unsigned atomicCAS(unsigned* at, unsigned compared, unsigned value) {
    return emulated_atomic(at, EmulatedAtomic::compare_and_swap, value, compared);
}

template <typename Value>
static __forceinline__ Value __ldg(const Value* at) { return *at; }
template <typename Value>
static __forceinline__ Value __ldcg(const Value* at) { return *at; }

#define EMULATED_MIN_MAX(Type)                                                            \
    static __forceinline__ Type min(Type a, Type b) { return b < a ? b : a; }             \
    static __forceinline__ Type max(Type a, Type b) { return a < b ? b : a; }
EMULATED_MIN_MAX(int)
EMULATED_MIN_MAX(unsigned)
EMULATED_MIN_MAX(long long)
// A NaN gives way to a number, as in CUDA.
static __forceinline__ float min(float a, float b) { return fminf(a, b); }
static __forceinline__ float max(float a, float b) { return fmaxf(a, b); }
