// Lets a C++ compiler build the kernels: each .cu file is included as part of the body of `struct Worker`, so its
// kernels become member functions that know which share of the work is theirs. No C++ library is needed, which
// spares compilers that build theirs on first use a minute.
#include <math.h>

#define KERNEL inline __attribute__((always_inline))
#define DEVICE static inline __attribute__((always_inline))
#define DEVICE_MEMBER inline __attribute__((always_inline))

#if defined(__clang__)
#define INDEPENDENT_ITERATIONS _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT_ITERATIONS _Pragma("GCC ivdep")
#endif

// One contiguous range per worker: a vectorisable loop, where a thread-by-thread grid stride would not be.
#define GRID_LOOP(i, n)                                                      \
    const int first_##i = share_start(n, worker), last_##i = share_start(n, worker + 1); \
    INDEPENDENT_ITERATIONS                                                   \
    for (int i = first_##i; i < last_##i; ++i)

#define ROW_LOOP(row, rows, width)                                           \
    for (int row = share_start(rows, worker), last_ = share_start(rows, worker + 1); row < last_; ++row)
#define COLUMN_LOOP(column, width)                                           \
    INDEPENDENT_ITERATIONS                                                   \
    for (int column = 0; column < (width); ++column)

// Some of a row's columns, from `first` to before `last`, in a function that a ROW_LOOP calls with HERE as its last
// argument, whose name is element_.
#define PART_LOOP(column, first, last, width)                                \
    INDEPENDENT_ITERATIONS                                                   \
    for (int column = (first); column < (last); ++column)
#define HERE 0

// Strips of a row's columns, inside a ROW_LOOP: `...` runs with `column`, the first of `lanes` columns. A strip is one
// vector; the last one of a row may be shorter.
#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif
#define EACH_STRIP(column, width, ...)                                       \
    {                                                                        \
        int column = 0;                                                      \
        for (; column + LANES <= (width); column += LANES) {                 \
            enum { lanes = LANES };                                          \
            __VA_ARGS__;                                                     \
        }                                                                    \
        if (column < (width)) {                                              \
            const int lanes = (width) - column;                              \
            __VA_ARGS__;                                                     \
        }                                                                    \
    }

typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int LaneNumbers __attribute__((vector_size(4 * LANES)));
typedef float LanesInMemory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef unsigned char Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef double DoubleLanes __attribute__((vector_size(8 * LANES)));
typedef double DoubleLanesInMemory __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

// A strip of float or double.
template <typename Scalar>
struct LanesOf;
template <>
struct LanesOf<float> {
    typedef Lanes Type;
};
template <>
struct LanesOf<double> {
    typedef DoubleLanes Type;
};

#define PREFETCH(address) __builtin_prefetch(address)

DEVICE float reciprocal(float value) { return 1.0f / value; }
DEVICE Lanes reciprocal(Lanes value) { return 1.0f / value; }

// Of floats or Lanes; as comparisons because these, unlike fminf and fmaxf, are one vector instruction each.
template <typename Number>
DEVICE Number at_most(Number value, Number limit) {
    return value < limit ? value : limit;
}
template <typename Number>
DEVICE Number at_least(Number value, Number limit) {
    return value > limit ? value : limit;
}

DEVICE Lanes broadcast(float value) { return value - Lanes{}; }
DEVICE LaneNumbers broadcast(int value) { return value - LaneNumbers{}; }
DEVICE DoubleLanes broadcast(double value) { return value - DoubleLanes{}; }

DEVICE Lanes load(const float* __restrict__ from, int lanes) {
    if (lanes == LANES) return *(const LanesInMemory*)from;
    Lanes values = {};
    for (int lane = 0; lane < lanes; ++lane) values[lane] = from[lane];
    return values;
}
// One float in every `step`.
DEVICE Lanes load_strided(const float* __restrict__ from, int step) {
    Lanes values = {};
    for (int lane = 0; lane < LANES; ++lane) values[lane] = from[lane * step];
    return values;
}
DEVICE void store(float* __restrict__ to, Lanes values, int lanes) {
    if (lanes == LANES) {
        *(LanesInMemory*)to = values;
    } else {
        for (int lane = 0; lane < lanes; ++lane) to[lane] = values[lane];
    }
}
DEVICE LaneNumbers load(const unsigned char* __restrict__ from, int lanes) {
    if (lanes == LANES) return __builtin_convertvector(*(const Bytes*)from, LaneNumbers);
    LaneNumbers values = {};
    for (int lane = 0; lane < lanes; ++lane) values[lane] = from[lane];
    return values;
}
DEVICE void store(unsigned char* __restrict__ to, LaneNumbers values, int lanes) {
    if (lanes == LANES) {
        *(Bytes*)to = __builtin_convertvector(values, Bytes);
    } else {
        for (int lane = 0; lane < lanes; ++lane) to[lane] = (unsigned char)values[lane];
    }
}
DEVICE DoubleLanes load(const double* __restrict__ from, int lanes) {
    if (lanes == LANES) return *(const DoubleLanesInMemory*)from;
    DoubleLanes values = {};
    for (int lane = 0; lane < lanes; ++lane) values[lane] = from[lane];
    return values;
}
DEVICE void store(double* __restrict__ to, DoubleLanes values, int lanes) {
    if (lanes == LANES) {
        *(DoubleLanesInMemory*)to = values;
    } else {
        for (int lane = 0; lane < lanes; ++lane) to[lane] = values[lane];
    }
}
// Whole numbers that a float holds.
template <typename Number>
DEVICE void store(int* __restrict__ to, Number values, int lanes) {
    for (int lane = 0; lane < lanes; ++lane) to[lane] = (int)values[lane];
}

// Never contracted with an addition into one rounding: the same bits everywhere.
DEVICE double rounded_product(double a, double b) {
    double product = a * b;
    __asm__("" : "+m"(product));
    return product;
}

struct WorkShare {
    int worker, workers;
    int share_start(int n, int index) const { return (int)((long long)n * index / workers); }
};
