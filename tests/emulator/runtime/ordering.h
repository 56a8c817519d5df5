// Which accesses of a block's threads are ordered. Time counts what orders threads: barriers, and syncs of a warp. All
// that was done before a barrier of the block is ordered before all that follows it. Between two of those, known[a][b]
// is until when thread b's accesses are ordered before those that thread a makes now.

static uint32_t now = 1, block_start, epoch_start;
// The last time that threads of several warps, but not all of the block, were ordered.
static uint32_t across_warps;
static uint32_t known[MAX_THREADS][MAX_THREADS];

static void start_block() { block_start = epoch_start = ++now; }
static void order_all() { epoch_start = ++now; }

static void order(const int* who, int count, bool one_warp) {
    // what a warp's lanes know of other warps is old, unless a barrier of several warps came before
    const bool own_only = one_warp && across_warps < epoch_start;
    const int first = own_only ? who[0] / LANES_PER_WARP * LANES_PER_WARP : 0;
    const int end = own_only ? first + LANES_PER_WARP : threads;
    static uint32_t joined[MAX_THREADS];
    memset(joined + first, 0, (end - first) * sizeof *joined);
    for (int i = 0; i < count; ++i) {
        const uint32_t* of = known[who[i]];
        for (int j = first; j < end; ++j) joined[j] = joined[j] > of[j] ? joined[j] : of[j];
    }
    for (int i = 0; i < count; ++i) joined[who[i]] = now;
    for (int i = 0; i < count; ++i) memcpy(known[who[i]] + first, joined + first, (end - first) * sizeof *joined);
    if (!one_warp) across_warps = now;
    ++now;
}

static inline bool is_ordered(uint32_t when, int who, int before) {
    return when < epoch_start || who == before || when <= known[before][who];
}
