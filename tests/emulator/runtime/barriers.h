// Barriers: number 0 waits for all threads of the block that have not returned, a named one for a number of threads.

enum { NAMED_BARRIERS = 16 };
struct Barrier {
    int expected, arrived, count_true;
    int members[MAX_THREADS], lines[MAX_THREADS];
};
static Barrier barriers[NAMED_BARRIERS];
// What each thread got from its last.
static int barrier_counts[MAX_THREADS], barrier_members[MAX_THREADS];

// A warp passes a barrier as one: all of its lanes, at the same line. A barrier of the block is one line for all.
static void check_members(const Barrier& barrier, bool of_block) {
    uint32_t lanes[MAX_WARPS] = {};
    int lines[MAX_WARPS] = {};
    for (int i = 0; i < barrier.arrived; ++i) {
        const int thread = barrier.members[i], warp = of_block ? 0 : thread / LANES_PER_WARP;
        lanes[thread / LANES_PER_WARP] |= 1u << thread % LANES_PER_WARP;
        if (!lines[warp]) lines[warp] = i + 1;
        const int first = lines[warp] - 1;
        if (barrier.lines[i] != barrier.lines[first])
            fail("BarrierDivergence", fibers[thread].waits_at, thread, fibers[barrier.members[first]].waits_at,
                 "waits here, but thread %d at {other}", barrier.members[first]);
    }
    for (int warp = 0; warp < MAX_WARPS; ++warp)
        if (lanes[warp] && lanes[warp] != warps[warp].living) {
            const int thread = warp * LANES_PER_WARP + first_lane(lanes[warp]);
            fail("BarrierDivergence", fibers[thread].waits_at, thread, 0,
                 "enough threads are at the barrier, but of warp %d only the lanes %08x", warp, lanes[warp]);
        }
}

static void open_barrier(Barrier& barrier) {
    // those that have returned did not wait for the others, and are not ordered before them
    const bool of_block = barrier.arrived == threads;
    check_members(barrier, &barrier == barriers);
    idle_turns = 0;
    ++outcome->barriers;
    if (of_block) check_unwritten_read(), order_all();
    else order(barrier.members, barrier.arrived, false);
    uint32_t lanes[MAX_WARPS] = {};
    for (int i = 0; i < barrier.arrived; ++i) {
        const int thread = barrier.members[i], warp = thread / LANES_PER_WARP;
        barrier_counts[thread] = barrier.count_true, barrier_members[thread] = barrier.arrived;
        lanes[warp] |= 1u << thread % LANES_PER_WARP;
    }
    for (int warp = 0; warp < MAX_WARPS; ++warp) {
        if (lanes[warp]) count_accesses(warp);
        make_runnable(warp, lanes[warp]);
    }
    barrier.arrived = barrier.count_true = 0;
}

extern "C" int emulated_barrier(int number, int expected, int line, bool value, EmulatedResult result) {
    const Site site = CALLER;
    if (number < 0 || number >= NAMED_BARRIERS || expected % LANES_PER_WARP || expected < 0 || expected > threads)
        fail("BarrierDivergence", site, current->thread, 0, "there is no barrier %d for %d of %d threads", number,
             expected, threads);
    Barrier& barrier = barriers[number];
    if (barrier.arrived && barrier.expected != expected)
        fail("BarrierDivergence", site, current->thread, fibers[barrier.members[0]].waits_at,
             "waits at barrier %d for %d threads, but thread %d at {other} for %d", number, expected,
             barrier.members[0], barrier.expected);
    barrier.expected = expected;
    barrier.members[barrier.arrived] = current->thread, barrier.lines[barrier.arrived++] = line;
    barrier.count_true += value;
    current->state = State::waiting, current->waits_at = site, current->waits_for = "a barrier";
    if (barrier.arrived == (expected ? expected : living)) open_barrier(barrier);
    run_another();
    const int count = barrier_counts[current->thread];
    return result == EmulatedResult::any   ? count > 0
           : result == EmulatedResult::all ? count == barrier_members[current->thread]
                                           : count;
}

static void reset_barriers() {
    for (Barrier& barrier : barriers) barrier.arrived = barrier.count_true = 0;
}

static void check_copies_at_return();
static void check_products_at_return();

// The last instruction of a thread.
static void thread_returns() {
    check_copies_at_return();
    check_products_at_return();
    current->state = State::returned;
    --living;
    idle_turns = 0;
    lane_returns();
    if (barriers[0].arrived && !barriers[0].expected && barriers[0].arrived == living) open_barrier(barriers[0]);
    if (living) run_another();
    check_unwritten_read();
    emulator_switch(&current->stack_pointer, launcher.stack_pointer);
}
