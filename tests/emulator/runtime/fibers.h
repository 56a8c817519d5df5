// The threads of a block: fibers, which take turns on one processor.

enum { MAX_THREADS = 1024, LANES_PER_WARP = 32, MAX_WARPS = MAX_THREADS / LANES_PER_WARP };
enum class State { runnable, waiting, returned };

struct Fiber {
    void* stack_pointer;
    uintptr_t stack;  // its lowest address
    int thread;
    State state;
    Site waits_at;
    const char* waits_for;
};

static Fiber fibers[MAX_THREADS];
static Fiber* current;
static int threads, living, block[3], grid[3];
static uint32_t runnable_warps, runnable_lanes[MAX_WARPS];  // a bit of each
static Fiber launcher;  // whoever launched
static uint64_t random_state;
// Turns given up in a row, with nothing achieved. A thread that accesses memory for long gives up its turn, too, which
// counts as many.
static uint64_t idle_turns;
static const uint64_t MAX_IDLE_TURNS = 1 << 21, LONG_TURN = 1 << 14;
static const uint32_t ACCESSES_OF_TURN = 1 << 20;
static uint32_t accesses_left = ACCESSES_OF_TURN;

static const uintptr_t STACK_BYTES = 64 << 10, PAGE = 4 << 10;
// A page that must not be touched lies below each; another shifts them against one another, or all stacks' tops would
// fall into the same few sets of the caches.
static const uintptr_t STACK_STRIDE = STACK_BYTES + 2 * PAGE;

// Saves what a function must preserve and where it is, and goes on where `to` was saved. (The SysV calling convention.)
extern "C" void emulator_switch(void** save, void* to) __attribute__((visibility("hidden")));
asm(R"(
    .text
    .globl emulator_switch
    .hidden emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, . - emulator_switch
)");

static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(((random_state >> 32) * limit) >> 32);
}

// The launch ends with an error; no fiber runs on. What a kernel does after it read what nobody wrote is no news,
// except that others write there, too.
static void check_unwritten_read();
[[noreturn]] __attribute__((format(printf, 5, 6), noinline)) static void fail(const char* error, Site site, int thread,
                                                                              Site other, const char* format, ...) {
    static bool failing = false;
    if (!failing && strcmp(error, "SharedMemoryRace")) {
        failing = true;
        check_unwritten_read();
    }
    failing = false;
    snprintf(outcome->error, sizeof outcome->error, "%s", error);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(outcome->message, sizeof outcome->message, format, arguments);
    va_end(arguments);
    outcome->site = site, outcome->other_site = other, outcome->thread = thread;
    memcpy(outcome->block, block, sizeof block);
    emulator_switch(&current->stack_pointer, launcher.stack_pointer);
    __builtin_unreachable();
}

// All that live wait for something that nobody can bring about.
[[noreturn]] static void fail_no_progress() {
    const Fiber *first = nullptr, *other = nullptr;
    int with_first = 0, with_other = 0;
    for (int i = 0; i < threads; ++i) {
        const Fiber& fiber = fibers[i];
        if (fiber.state != State::waiting) continue;
        if (!first) first = &fiber;
        if (fiber.waits_at == first->waits_at) {
            ++with_first;
        } else {
            if (!other) other = &fiber;
            if (fiber.waits_at == other->waits_at) ++with_other;
        }
    }
    char others[160] = "";
    if (other)
        snprintf(others, sizeof others, ", %d (thread %d, ...) at {other} for %s", with_other, other->thread,
                 other->waits_for);
    fail("BarrierDivergence", first->waits_at, first->thread, other ? other->waits_at : 0,
         "no progress: %d threads wait here for %s%s; %d have returned", with_first, first->waits_for, others,
         threads - living);
}

static void make_runnable(int warp, uint32_t lanes) {
    runnable_lanes[warp] |= lanes;
    if (lanes) runnable_warps |= 1u << warp;
}

// Any of the bits of a mask.
static int random_bit(uint32_t mask) {
    const uint32_t turn = random_below(32);
    return (int)((__builtin_ctz(mask >> turn | mask << (-turn & 31)) + turn) % 32);
}

// Any of those that can; mostly of the same warp as before, whose stacks are in the cache.
static void run_another() {
    if (!runnable_warps) fail_no_progress();
    Fiber* const from = current;
    int warp = from->thread / LANES_PER_WARP;
    if (!runnable_lanes[warp] || random_below(64) == 0) warp = random_bit(runnable_warps);
    const int lane = random_bit(runnable_lanes[warp]);
    runnable_lanes[warp] &= ~(1u << lane);
    if (!runnable_lanes[warp]) runnable_warps &= ~(1u << warp);
    current = &fibers[warp * LANES_PER_WARP + lane];
    current->state = State::runnable;
    if (current != from) emulator_switch(&from->stack_pointer, current->stack_pointer);
}

// Lets others go first; ends a launch in which all do nothing else.
static void yield(Site site) {
    if (++idle_turns > MAX_IDLE_TURNS)
        fail("BarrierDivergence", site, current->thread, 0, "no progress: it tries for ever");
    make_runnable(current->thread / LANES_PER_WARP, 1u << current->thread % LANES_PER_WARP);
    run_another();
}

static inline void count_access_of_turn(Site site) {
    if (--accesses_left) return;
    accesses_left = ACCESSES_OF_TURN;
    idle_turns += LONG_TURN;
    yield(site);
}

static void (*entry)(const char*);
static const char* entry_arguments;
static void thread_returns();

static void run_thread() {
    entry(entry_arguments);
    thread_returns();
    __builtin_unreachable();
}

// As if emulator_switch had been called at the start of run_thread.
static void start_fiber(int thread, uintptr_t stacks) {
    Fiber& fiber = fibers[thread];
    fiber.thread = thread;
    fiber.stack = stacks + thread * STACK_STRIDE + PAGE;
    void** top = (void**)(fiber.stack + STACK_BYTES - 256 - (thread * 7 % 12) * 256);
    *--top = nullptr;  // a function starts with its stack 8 bytes off a multiple of 16
    *--top = (void*)run_thread;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    fiber.stack_pointer = top;
}
