// Sums over many values by blocks: each reads parts of an array, neighbouring threads neighbouring addresses, and adds what
// its threads have. What is a part, and in which order it is added, depends on the array's size alone, not on the grid.
//
// Constant: THREADS, of a block.

template <typename Number>
DEVICE Number warp_sum(Number value) {
#pragma unroll
    for (int step = WARP / 2; step; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

// The sum of what all threads of the block bring, for all of them.
template <typename Number>
DEVICE Number block_sum(Number value) {
    __shared__ Number of_warp[THREADS / WARP];
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    Number sum = 0;
#pragma unroll
    for (int warp = 0; warp < THREADS / WARP; ++warp) sum += of_warp[warp];
    __syncthreads();  // the next sum of the block may overwrite them
    return sum;
}

// Runs body(value) for this thread's values of a part of `part_size` of n, which begins at a multiple of 16 bytes.
template <typename Body>
DEVICE void each_of_part(const float* __restrict__ values, int part, int part_size, int n, const Body& body) {
    const int first = part * part_size, count = min(n - first, part_size);
    const float4* __restrict__ const pieces = (const float4*)(values + first);
#pragma unroll 4
    for (int i = threadIdx.x; i < count / 4; i += THREADS) {
        const float4 piece = pieces[i];
        body(piece.x), body(piece.y), body(piece.z), body(piece.w);
    }
    const int rest = count / 4 * 4 + threadIdx.x;
    if (rest < count) body(values[first + rest]);
}
