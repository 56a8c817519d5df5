// What compute capability 9.0 adds, and no other has (NVRTC's sm_90a): four warps in a row, a warpgroup, multiply together
// while they do other things. The left factor and the sums are in registers, the right factor is read from shared memory.
// Included by kernels that need it; the tests' emulator has its own version, which it reads before this.
//
// The product of a warpgroup: sums 64 x 64 += a (64 x 16) b (16 x 64), of halves. A warp has 16 rows. A lane's part of `a`
// is that of multiply_halves (warp.h); of its sums, sum[4 i + k] is that function's sum[k] for columns 8 i to 8 i + 7.
// `b` lies in shared memory (PTX, "Shared Memory Matrix Layout": K-major, not swizzled): 8 columns with 8 of their rows are
// 128 bytes, of each column 16, the 8 rows beside one another. See right_factor.

#ifndef WARPGROUP
#define WARPGROUP 128
// A lane's sums of a product.
#define GROUP_SUMS 32

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// After writing what products will read, awaited copies included; before the barrier behind which they begin.
DEVICE void show_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Where the right factor lies, 16 bytes aligned: the bytes from its rows 0 to 7 to the other 8, and from one 8 columns to
// the next.
DEVICE unsigned long long right_factor(const void* shared, unsigned rows_apart, unsigned columns_apart) {
    const unsigned long long address = shared_address(shared) >> 4 & 0x3fffu;
    return address | (unsigned long long)(rows_apart >> 4) << 16 | (unsigned long long)(columns_apart >> 4) << 32;
}

// Before the first product, and before one whose left factor or sums other instructions wrote.
DEVICE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Starts to add a product, or with `first` to replace the sums by it. Until it is awaited, neither `sum` nor `a` is to be
// read or written, but by other products.
DEVICE void multiply_group(float (&sum)[GROUP_SUMS], const unsigned (&a)[4], unsigned long long b, bool first) {
    asm volatile(
        "{.reg .pred adds; setp.eq.s32 adds, %37, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,"
        "%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, adds, 1, 1, 0;}"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3]), "+f"(sum[4]), "+f"(sum[5]), "+f"(sum[6]), "+f"(sum[7]),
          "+f"(sum[8]), "+f"(sum[9]), "+f"(sum[10]), "+f"(sum[11]), "+f"(sum[12]), "+f"(sum[13]), "+f"(sum[14]),
          "+f"(sum[15]), "+f"(sum[16]), "+f"(sum[17]), "+f"(sum[18]), "+f"(sum[19]), "+f"(sum[20]), "+f"(sum[21]),
          "+f"(sum[22]), "+f"(sum[23]), "+f"(sum[24]), "+f"(sum[25]), "+f"(sum[26]), "+f"(sum[27]), "+f"(sum[28]),
          "+f"(sum[29]), "+f"(sum[30]), "+f"(sum[31])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)first));
}

// Products are counted in groups: the warpgroup's since its last call.
DEVICE void end_product_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until all but the last `pending` groups are done.
template <int pending>
DEVICE void await_product_groups() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

#else

// Elsewhere the kernels that need them compile, and are never launched.
DEVICE void show_products() {}
DEVICE unsigned long long right_factor(const void*, unsigned, unsigned) { return 0; }
DEVICE void begin_products() {}
DEVICE void multiply_group(float (&)[GROUP_SUMS], const unsigned (&)[4], unsigned long long, bool) { __trap(); }
DEVICE void end_product_group() {}
template <int pending>
DEVICE void await_product_groups() {}

#endif
#endif
