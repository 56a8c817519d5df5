// Whole arrays of n values: what array libraries would do by expressions, which a CUDA graph is better without. Called
// by ttfs_cupy/convolution/gemm.py and by whatever keeps a number of a step in device memory.

KERNEL void copy(const float* __restrict__ from, float* __restrict__ to, int n) {
    GRID_LOOP(i, n) to[i] = from[i];
}

// The value travels with the launch: nothing on the host has to outlive it.
KERNEL void fill(float* __restrict__ values, float value, int n) {
    GRID_LOOP(i, n) values[i] = value;
}

// The marks of a batch (engine/validity.py): {of this batch, not told yet}; a new one has nothing against it.
KERNEL void begin_batch(int* __restrict__ marks, int n) {
    GRID_LOOP(only, n) marks[only] = 0;
}

// Sets both marks if any value is below low, above high, or no number.
KERNEL void mark_outside(const float* __restrict__ values, float low, float high, int* __restrict__ marks, int n) {
    int outside = 0;
    GRID_LOOP(i, n) outside |= !(values[i] >= low && values[i] <= high);
    if (!outside) return;
    // by several threads at once, all of which write the same
    marks[0] = INPUTS_OUTSIDE;
    marks[1] |= INPUTS_OUTSIDE;
}
