// A launch: the blocks of the grid one after another, in an order that the seed draws.

struct Launch {
    void (*entry)(const char* arguments);
    const char* arguments;
    const Array* arrays;
    int32_t array_count, grid[3], threads, shared_bytes;
    uint64_t seed;
    uintptr_t stacks;
};

// Memory for the stacks of any launch, of all libraries; 0 if there is none. It takes up what is used of it.
EXPORTED uintptr_t emulator_stacks() {
    void* at = mmap(nullptr, MAX_THREADS * STACK_STRIDE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return 0;
    for (int i = 0; i < MAX_THREADS; ++i)
        if (mprotect((char*)at + i * STACK_STRIDE + PAGE, STACK_BYTES, PROT_READ | PROT_WRITE)) return 0;
    return (uintptr_t)at;
}

extern "C" unsigned emulated_place(EmulatedPlace what) {
    switch (what) {
        case EmulatedPlace::thread: return (unsigned)current->thread;
        case EmulatedPlace::block_x: return (unsigned)block[0];
        case EmulatedPlace::block_y: return (unsigned)block[1];
        case EmulatedPlace::block_z: return (unsigned)block[2];
        case EmulatedPlace::threads: return (unsigned)threads;
        case EmulatedPlace::grid_x: return (unsigned)grid[0];
        case EmulatedPlace::grid_y: return (unsigned)grid[1];
        case EmulatedPlace::grid_z: return (unsigned)grid[2];
    }
    __builtin_unreachable();
}

static void poison_shared() {
    memset(emulated_dynamic_shared + GUARD, POISON, dynamic_bytes);
    for (int i = 0; i < array_count; ++i) {
        const Array& array = arrays[i];
        if (array.kind == Kind::static_shared) memset((void*)array.begin, POISON, array.end - array.begin);
    }
}

static void run_block(uintptr_t stacks) {
    start_block();
    start_block_in_global_memory();
    poison_shared();
    reset_barriers();
    reset_copies();
    reset_products();
    unwritten_read.found = false;
    living = threads, runnable_warps = 0, idle_turns = 0;
    for (int warp = 0; warp < MAX_WARPS; ++warp) {
        const int lanes = threads - warp * LANES_PER_WARP;
        reset_warp(warps[warp], lanes >= LANES_PER_WARP ? ALL_LANES : lanes > 0 ? (1u << lanes) - 1 : 0);
        runnable_lanes[warp] = 0;
        make_runnable(warp, warps[warp].living);
    }
    for (int thread = 0; thread < threads; ++thread) start_fiber(thread, stacks);
    current = &launcher;
    run_another();
    for (int warp = 0; warp * LANES_PER_WARP < threads; ++warp) count_accesses(warp);
}

static void run_grid(uintptr_t stacks) {
    std::vector<int> order(grid[0] * grid[1] * grid[2]);
    for (size_t i = 0; i < order.size(); ++i) {
        const size_t place = random_below((uint32_t)i + 1);
        order[i] = order[place], order[place] = (int)i;
    }
    start_grid_in_global_memory();
    for (int number : order) {
        block[0] = number % grid[0], block[1] = number / grid[0] % grid[1], block[2] = number / grid[0] / grid[1];
        run_block(stacks);
        if (outcome->error[0]) return;
    }
}

EXPORTED void emulator_launch(const Launch* launch, Outcome* result) {
    outcome = result;
    entry = launch->entry, entry_arguments = launch->arguments;
    arrays = launch->arrays, array_count = launch->array_count;
    memcpy(grid, launch->grid, sizeof grid);
    threads = launch->threads, dynamic_bytes = launch->shared_bytes;
    random_state = launch->seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
    if (!random_state) random_state = 1;
    clear_instructions();
    forget_accesses();
    run_grid(launch->stacks);
}

// Where the library lies, to which sites and symbols are relative.
EXPORTED uintptr_t emulator_base() { return (uintptr_t)&__ehdr_start; }

// The bank conflicts of the last launch.
EXPORTED int emulator_instruction_count() { return (int)instructions.size(); }
EXPORTED const Instruction* emulator_instructions() { return instructions.data(); }
