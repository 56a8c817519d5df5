// Every access of a kernel: is it within an array, aligned, allowed?

// The library's constants: what precedes its variables.
extern "C" const char __bss_start __attribute__((visibility("hidden")));

[[noreturn]] __attribute__((noinline)) static void fail_out_of_bounds(uintptr_t at, uint32_t size, bool write,
                                                                      Site site) {
    const uintptr_t dynamic = (uintptr_t)emulated_dynamic_shared + GUARD;
    Array nearest = {dynamic, dynamic + dynamic_bytes, "dynamic shared memory", Kind::static_shared, 0};
    auto distance = [at](const Array& array) {
        return at < array.begin ? array.begin - at : at >= array.end ? at - array.end : 0;
    };
    const bool shared = at - (dynamic - GUARD) < sizeof emulated_dynamic_shared;
    for (int i = 0; i < array_count && !shared; ++i)
        if (distance(arrays[i]) < distance(nearest)) nearest = arrays[i];
    const char* verb = write ? "writes" : "reads";
    const bool null = at < 1 << 16;
    if (null || distance(nearest) > 1 << 30)
        fail("OutOfBounds", site, current->thread, 0, "%s %u bytes that are far from every array", verb, size);
    fail("OutOfBounds", site, current->thread, 0, "%s %u bytes at byte %lld of %s, which has %lld", verb, size,
         (long long)(at - nearest.begin), nearest.name, (long long)(nearest.end - nearest.begin));
}

[[noreturn]] __attribute__((noinline)) static void fail_misaligned(uint32_t size, bool write, Site site) {
    fail("Misaligned", site, current->thread, 0, "%s %u bytes at an address that is not a multiple of %u",
         write ? "writes" : "reads", size, size);
}

static inline bool is_on_stack(uintptr_t at) { return at - current->stack < STACK_BYTES; }

static bool is_constant(uintptr_t at, uint32_t size) {
    return at >= (uintptr_t)&__ehdr_start && at + size <= (uintptr_t)&__bss_start;
}

// Whether it is shared memory, and where; fails if it lies outside of everything.
static inline bool find_shared(uintptr_t at, uint32_t size, bool write, Site site, Access& access) {
    const uintptr_t offset = at - (uintptr_t)emulated_dynamic_shared;
    if (offset < sizeof emulated_dynamic_shared) {
        const intptr_t byte = (intptr_t)offset - GUARD;
        if (byte < 0 || byte + (intptr_t)size > dynamic_bytes) fail_out_of_bounds(at, size, write, site);
        access = {"dynamic shared memory", (uint32_t)byte, (uint32_t)byte, size, write, false, site};
        return true;
    }
    const Array* const array = array_of(at, size, write);
    if (!array) {
        if (write || !is_constant(at, size)) fail_out_of_bounds(at, size, write, site);
        return false;
    }
    if (array->kind == Kind::static_shared) {
        const uint32_t byte = (uint32_t)(at - array->begin);
        access = {array->name, byte, array->shadow + byte, size, write, false, site};
        return true;
    }
    if (write && array->kind == Kind::read_only)
        fail("ReadOnlyWrite", site, current->thread, 0, "writes to %s, which is declared const", array->name);
    return false;
}

static inline void check_access(const void* pointer, uint32_t size, bool write, Site site) {
    const uintptr_t at = (uintptr_t)pointer;
    if (is_on_stack(at)) {
        if (registers) access_registers(at, size, write, site);
        return;
    }
    count_access_of_turn(site);
    if (at & (size - 1)) fail_misaligned(size, write, site);
    Access access;
    if (find_shared(at, size, write, site, access)) {
        ++outcome->shared_accesses;
        check_shared(access);
        record_access(site, access.byte, size, false);
    } else {
        ++outcome->global_accesses;
        check_global(at, size, write, site);
        record_access(site, at, size, true);
    }
}

// A structure that is no vector is moved in the largest pieces that its address and size allow, up to 4 bytes.
static void check_range(const void* pointer, uintptr_t bytes, bool write, Site site) {
    if (is_on_stack((uintptr_t)pointer)) {
        if (registers) access_registers((uintptr_t)pointer, bytes, write, site);
        return;
    }
    const uintptr_t piece = ((uintptr_t)pointer | bytes) & 1 ? 1 : ((uintptr_t)pointer | bytes) & 2 ? 2 : 4;
    for (uintptr_t i = 0; i < bytes; i += piece) check_access((const char*)pointer + i, piece, write, site);
}

// The names that -fsanitize=thread gives its hooks.
extern "C" {
#define HOOKS(bytes)                                                                        \
    void __tsan_read##bytes(void* at) { check_access(at, bytes, false, CALLER); }           \
    void __tsan_write##bytes(void* at) { check_access(at, bytes, true, CALLER); }           \
    void __tsan_unaligned_read##bytes(void* at) { check_access(at, bytes, false, CALLER); } \
    void __tsan_unaligned_write##bytes(void* at) { check_access(at, bytes, true, CALLER); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(void* at, uintptr_t bytes) { check_range(at, bytes, false, CALLER); }
void __tsan_write_range(void* at, uintptr_t bytes) { check_range(at, bytes, true, CALLER); }
void __tsan_init() { are_accesses_watched = true; }
}

// Of the kernels' own calls: a word of shared or global memory, read and written at once.
extern "C" unsigned emulated_atomic(void* at, EmulatedAtomic operation, unsigned value, unsigned compared) {
    const Site site = CALLER;
    if ((uintptr_t)at & 3) fail_misaligned(4, true, site);
    Access access;
    if (find_shared((uintptr_t)at, 4, true, site, access)) {
        access.atomic = true;
        ++outcome->shared_accesses;
        check_shared(access);
        record_access(site, access.byte, 4, false);
    } else {
        ++outcome->global_accesses;
        pass_atomic((uintptr_t)at);
    }
    unsigned& word = *(unsigned*)at;
    const unsigned old = word;
    switch (operation) {
        case EmulatedAtomic::add: word = old + value; break;
        case EmulatedAtomic::max_signed: word = (int)old > (int)value ? old : value; break;
        case EmulatedAtomic::max_unsigned: word = old > value ? old : value; break;
        case EmulatedAtomic::exchange: word = value; break;
        case EmulatedAtomic::compare_and_swap: word = old == compared ? value : old; break;
    }
    // so that atomics come in any order, and one that waits for another thread's gets it
    yield(site);
    return old;
}

extern "C" void emulated_trap() { fail("Trap", CALLER, current->thread, 0, "calls __trap()"); }
