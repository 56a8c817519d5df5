// What a kernel file needs when NVRTC compiles it. cpu.h is its counterpart for a C++ compiler.
#define KERNEL extern "C" __global__
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__

// A grid-stride loop: any grid covers any n, so a launch need not match the data.
#define GRID_LOOP(i, n)                                                      \
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n);             \
         i += gridDim.x * blockDim.x)

// Rows of `width` contiguous columns, one thread per element, so that neighbouring threads touch neighbouring
// addresses. What stands between the two loops depends on the row alone.
#define ROW_LOOP(row, rows, width)                                           \
    for (int element_ = blockIdx.x * blockDim.x + threadIdx.x, row;          \
         element_ < (rows) * (width) && (row = element_ / (width), true);    \
         element_ += gridDim.x * blockDim.x)
#define COLUMN_LOOP(column, width)                                           \
    for (int column = element_ % (width), once_ = 1; once_; once_ = 0)

// A thread's one column, if it is among these.
#define PART_LOOP(column, first, last, width)                                \
    for (int column = element_ % (width), once_ = column >= (first) && column < (last); once_; once_ = 0)
#define HERE element_

// The same in strips; a thread's strip is its one column, and a vector of lanes one number.
#define EACH_STRIP(column, width, ...)                                       \
    {                                                                        \
        const int column = element_ % (width), lanes = 1;                    \
        __VA_ARGS__;                                                         \
    }

#define LANES 1

typedef float Lanes;
typedef int LaneNumbers;

template <typename Scalar>
struct LanesOf {
    typedef Scalar Type;
};

// A GPU hides a load's latency behind other threads.
#define PREFETCH(address)

// Within one unit in the last place, in one instruction.
DEVICE float reciprocal(float value) {
#ifdef __CUDACC__
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
    return result;
#else
    return 1.0f / value;
#endif
}

// The limit, too, where the value is NaN.
DEVICE float at_most(float value, float limit) { return fminf(value, limit); }
DEVICE float at_least(float value, float limit) { return fmaxf(value, limit); }

// Never contracted with an addition into one rounding.
DEVICE double rounded_product(double a, double b) {
#ifdef __CUDACC__
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

DEVICE float broadcast(float value) { return value; }
DEVICE int broadcast(int value) { return value; }
DEVICE double broadcast(double value) { return value; }
DEVICE float load(const float* __restrict__ from, int lanes) { return *from; }
DEVICE float load_strided(const float* __restrict__ from, int step) { return *from; }
DEVICE void store(float* __restrict__ to, float value, int lanes) { *to = value; }
DEVICE int load(const unsigned char* __restrict__ from, int lanes) { return *from; }
DEVICE void store(unsigned char* __restrict__ to, int value, int lanes) { *to = (unsigned char)value; }
DEVICE double load(const double* __restrict__ from, int lanes) { return *from; }
DEVICE void store(double* __restrict__ to, double value, int lanes) { *to = value; }
template <typename Number>
DEVICE void store(int* __restrict__ to, Number value, int lanes) {
    *to = (int)value;
}
