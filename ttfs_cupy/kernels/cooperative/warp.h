// What CUDA offers a block and its warps beyond C++: the building blocks of cooperative kernels. Each is one or two
// instructions of PTX, whose manual says how a warp's lanes share out a matrix. The tests' emulator has its own version of
// this file, with the same names.
//
// A lane's part of the fragments, with row = lane / 4 and pair = lane % 4 (PTX, "Matrix Fragments for mma"):
//   m16n8k16, halves   a: rows row, row + 8; columns 2 pair, 2 pair + 1 (a[0], a[1]) and 8 more (a[2], a[3])
//                      b: rows 2 pair, 2 pair + 1 (b[0]) and 8 more (b[1]); column row
//   m16n8k8, TF32      a: rows row, row + 8; columns pair (a[0], a[1]) and pair + 4 (a[2], a[3]); b: rows pair, pair + 4
//   sums               rows row (sum[0], sum[1]) and row + 8 (sum[2], sum[3]); columns 2 pair, 2 pair + 1

#define WARP 32

// 16 bytes each, so that whatever a kernel lays there is aligned. A launch says how many bytes there are.
extern __shared__ float4 dynamic_shared[];

// A barrier, 1 to 15, of `threads` threads of the block, whole warps: those that reach it at any place. 0 is __syncthreads'.
DEVICE void named_barrier(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

#if __CUDA_ARCH__ >= 800

DEVICE unsigned shared_address(const void* shared) { return (unsigned)__cvta_generic_to_shared(shared); }

// Starts to copy 16 bytes, aligned to 16, or one float, to shared memory, past the registers; zeros where nothing is
// there (`from` is then not read).
DEVICE void copy_async(float4* shared, const float* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
DEVICE void copy_async(float* shared, const float* from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(shared)), "l"(from), "r"(there ? 4 : 0)
                 : "memory");
}
// Copies are counted in groups: this thread's since its last call.
DEVICE void end_copy_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until all but the last `pending` groups of this thread have arrived.
template <int pending>
DEVICE void await_copy_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// sum += a b, of a warp.
DEVICE void multiply_halves(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEVICE void multiply_tf32(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8x8 matrices of halves; lane i gives the address of a row (16 bytes): of matrix i / 8, row i % 8. Of each matrix,
// lane i gets columns 2 (i % 4) and the next of row i / 4; transposed, of its transpose.
DEVICE void load_matrices(unsigned (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row)) : "memory");
}
DEVICE void load_matrices_transposed(unsigned (&to)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row)) : "memory");
}

// A float rounded to TF32's 11 significant bits, ties away from zero; as bits.
DEVICE unsigned to_tf32(float value) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

#else

// Turing lacks most of them. The kernels that need them compile for it, and are never launched there.
DEVICE void copy_async(float4*, const float*, bool) { __trap(); }
DEVICE void copy_async(float*, const float*, bool) { __trap(); }
DEVICE void end_copy_group() {}
template <int pending>
DEVICE void await_copy_groups() {}
DEVICE void multiply_halves(float (&)[4], const unsigned (&)[4], unsigned, unsigned) { __trap(); }
DEVICE void multiply_tf32(float (&)[4], const unsigned (&)[4], unsigned, unsigned) { __trap(); }
DEVICE void load_matrices(unsigned (&)[4], const void*) { __trap(); }
DEVICE void load_matrices_transposed(unsigned (&)[4], const void*) { __trap(); }
DEVICE unsigned to_tf32(float) { return 0; }

#endif

// Two floats rounded to the nearest halves, the first in the low bits; and the halves' values.
DEVICE unsigned to_halves(float low, float high) {
    unsigned halves;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(halves) : "f"(high), "f"(low));
#else
    asm("{.reg .f16 l, h; cvt.rn.f16.f32 l, %1; cvt.rn.f16.f32 h, %2; mov.b32 %0, {l, h};}"
        : "=r"(halves) : "f"(low), "f"(high));
#endif
    return halves;
}
DEVICE float low_half(unsigned halves) {
    float value;
    asm("{.reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(value) : "r"(halves));
    return value;
}
DEVICE float high_half(unsigned halves) {
    float value;
    asm("{.reg .f16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h;}" : "=f"(value) : "r"(halves));
    return value;
}
// Of two halves: 1 where a half is not 0, as a NaN is not, else 0.
DEVICE unsigned nonzero_halves(unsigned halves) {
    unsigned ones;
    asm("set.neu.f16x2.f16x2 %0, %1, %2;" : "=r"(ones) : "r"(halves), "r"(0));
    return ones;
}
