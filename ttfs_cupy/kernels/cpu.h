// Lets a C++ compiler build the kernels: each .cu file is included as part of the body of `struct Worker`, so its
// kernels become member functions that know which share of the work is theirs. No C++ library is needed, which
// spares compilers that build theirs on first use a minute.
#include <math.h>

#define KERNEL inline __attribute__((always_inline))
#define DEVICE static inline __attribute__((always_inline))

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

struct WorkShare {
    int worker, workers;
    int share_start(int n, int index) const { return (int)((long long)n * index / workers); }
};
