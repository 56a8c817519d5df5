// What a thread has for itself lies on its stack, where a GPU has registers. The products of warpgroups use it while
// the thread goes on: of each word it is known whether one in flight does, and what the thread did to it since its last
// fence (begin_products).

struct Register {
    uint32_t written, read;  // the thread's last fence before it last did so
    Site product;            // one in flight that uses it, or 0
};
enum { REGISTERS = STACK_BYTES / 4 };
// Of each thread, once a kernel of the library multiplies so; of what is never touched the pages are never there.
static Register (*registers)[REGISTERS];
static uint32_t last_fence[MAX_THREADS], fence_count;  // 0 is none

static void watch_registers() {
    if (!registers) registers = (Register(*)[REGISTERS])calloc(MAX_THREADS, sizeof *registers);
}

// Of some words that a thread has; nullptr if they are not on its stack, such as a constant.
static Register* registers_at(int thread, const void* at) {
    const uintptr_t offset = (uintptr_t)at - fibers[thread].stack;
    return offset < STACK_BYTES ? registers[thread] + offset / 4 : nullptr;
}

static void occupy_registers(int thread, const void* at, int count, Site product) {
    Register* const first = registers_at(thread, at);
    for (int i = 0; first && i < count; ++i) first[i].product = product;
}

// A thread's own access to its stack.
__attribute__((noinline)) static void access_registers(uintptr_t at, uintptr_t bytes, bool write, Site site) {
    const uintptr_t offset = at - current->stack;
    for (uintptr_t i = offset / 4; i <= (offset + bytes - 1) / 4; ++i) {
        Register& one = registers[current->thread][i];
        if (one.product)
            fail("RegistersInFlight", site, current->thread, one.product,
                 "%s what the product at {other}, which is not awaited yet, uses", write ? "writes" : "reads");
        (write ? one.written : one.read) = last_fence[current->thread];
    }
}
