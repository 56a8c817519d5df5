// The block that comes last finds what the others have left.

// Whether this block is the last to come of `count`; it then sees what the others wrote before they came. counter: 0 before
// the first, and after the last.
DEVICE bool arrives_last(int* counter, int count) {
    __threadfence();
    __syncthreads();
    if (!__syncthreads_or(threadIdx.x == 0 && atomicAdd(counter, 1) == count - 1)) return false;
    __threadfence();
    if (threadIdx.x == 0) *counter = 0;
    return true;
}
