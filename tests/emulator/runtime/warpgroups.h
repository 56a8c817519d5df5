// The products of warpgroups (PTX, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions"), each warp's
// 16 rows by themselves: no warp waits for the others, but all four have to do the same. A product is computed when it
// is awaited, as late as CUDA allows; until then its sums hold a NaN, and its factors are nobody's to change.

enum { WARPS_OF_GROUP = 4, GROUP_SUMS = 32, IN_FLIGHT = 0x7fc0f117, FACTOR_BITS = 0x3fff };
static const uint32_t CORE_BYTES = 128;  // 8 columns with 8 of their rows each

// What a lane calls an instruction with.
struct ProductCall {
    float* sum;
    const unsigned* a;
    uint64_t operand;  // the right factor, or how many groups may be pending
    bool first;
};
static ProductCall product_calls[MAX_THREADS];

// A warp's part.
struct Product {
    Site site;
    uint32_t issued, group;
    uint64_t factor;
    bool first;
    float* sums[LANES_PER_WARP];
    const unsigned* a_at[LANES_PER_WARP];
    uint32_t a[LANES_PER_WARP * 4];
};
// What the sums of products in flight are; those of lane 0 tell them from others.
struct SumsInFlight {
    float* at[LANES_PER_WARP];
    float values[LANES_PER_WARP][GROUP_SUMS];
};
struct WarpProducts {
    std::vector<Product> pending;
    std::vector<SumsInFlight> sums;
    uint32_t group;  // that of the next product: so many have ended
    bool begun;      // a fence since the last wait
    size_t done;     // of the warpgroup's instructions
};
static WarpProducts products_of[MAX_WARPS];

// What the first of a warpgroup's warps did, and the others have to.
struct GroupInstruction {
    const char* name;
    uint64_t operand;
    bool first;
    Site site;
};
static std::vector<GroupInstruction> instructions_of[MAX_WARPS / WARPS_OF_GROUP];

// When each thread called show_products.
static std::vector<uint32_t> shown[MAX_THREADS];

extern "C" void emulated_show_products() {
    // what the thread writes from now on is later
    shown[current->thread].push_back(now++);
}

extern "C" unsigned long long emulated_right_factor(const void* pointer, unsigned rows_apart, unsigned columns_apart) {
    const Site site = CALLER;
    const uintptr_t byte = (uintptr_t)pointer - (uintptr_t)(emulated_dynamic_shared + GUARD);
    if (byte > (uintptr_t)dynamic_bytes)
        fail("OutOfBounds", site, current->thread, 0, "a right factor that is not in dynamic shared memory");
    if ((byte | rows_apart | columns_apart) & 15)
        fail("Misaligned", site, current->thread, 0,
             "a right factor at byte %u of dynamic shared memory, its parts %u and %u bytes apart: not multiples of 16",
             (unsigned)byte, rows_apart, columns_apart);
    if ((rows_apart | columns_apart) >> 4 > FACTOR_BITS)
        fail("OutOfBounds", site, current->thread, 0, "a right factor whose parts are %u and %u bytes apart",
             rows_apart, columns_apart);
    return byte >> 4 | (uint64_t)(rows_apart >> 4) << 16 | (uint64_t)(columns_apart >> 4) << 32;
}

// The place in shared memory of 8 columns' 8 rows, of which a right factor has 8 times 2.
static Access core_of(const Product& product, int columns, int rows) {
    auto field = [&](int shift) { return (uint32_t)(product.factor >> shift & FACTOR_BITS) << 4; };
    const uint32_t byte = field(0) + rows * field(16) + columns * field(32);
    if (byte + CORE_BYTES > (uint32_t)dynamic_bytes || product.factor & ~0x00003fff3fff3fffu)
        fail_out_of_bounds((uintptr_t)(emulated_dynamic_shared + GUARD + byte), CORE_BYTES, false, product.site);
    return {"dynamic shared memory", byte, byte, CORE_BYTES, false, false, product.site};
}

// Products read by the asynchronous proxy: what a thread wrote they see if it then called show_products, before the
// barrier or sync that orders it before them.
static void check_shown(const Access& access) {
    Past last = {};
    each_history(access, [&](const History& of, uint32_t i) {
        const Past& write = of.write;
        if (write.when < block_start || (write.when == last.when && write.who == last.who)) return;
        last = write;
        const std::vector<uint32_t>& times = shown[write.who];
        const auto then = std::lower_bound(times.begin(), times.end(), write.when);
        if (then == times.end() || !is_ordered(*then, write.who, current->thread))
            fail("MissingProxyFence", access.site, current->thread, write.site,
                 "multiplies by byte %u of %s, which thread %d wrote at {other} with no show_products() before the "
                 "barrier",
                 access.byte + i, access.array, write.who);
    });
}

static void check_not_written_since(const Access& access, uint32_t issued) {
    each_history(access, [&](const History& of, uint32_t i) {
        if (of.write.when > issued)
            fail_race(access, i, "wrote before the product that reads it was awaited,", of.write.who, of.write.site);
    });
}

// What a warp executes as one, and the warps of its group alike.
static const ProductCall& execute_alike(const Warp& warp, uint32_t who, const char* name) {
    check_whole_warp(warp, who, name);
    const int number = warp_number(warp), group = number / WARPS_OF_GROUP, thread = current->thread;
    const Site site = warp.lanes[0].site;
    const ProductCall& call = product_calls[thread_of(warp, 0)];
    for (int lane = 1; lane < LANES_PER_WARP; ++lane) {
        const ProductCall& other = product_calls[thread_of(warp, lane)];
        if (other.operand != call.operand || other.first != call.first)
            fail("BarrierDivergence", site, thread, warp.lanes[lane].site,
                 "%s with other operands than those of lane %d, at {other}", name, lane);
    }
    if (threads % (WARPS_OF_GROUP * LANES_PER_WARP))
        fail("BarrierDivergence", site, thread, 0, "%s in a block of %d threads: not whole warpgroups", name, threads);
    std::vector<GroupInstruction>& all = instructions_of[group];
    const size_t n = products_of[number].done++;
    if (n == all.size()) {
        all.push_back({name, call.operand, call.first, site});
        for (int other = group * WARPS_OF_GROUP; other < (group + 1) * WARPS_OF_GROUP; ++other)
            if (warps[other].living != ALL_LANES)
                fail("BarrierDivergence", site, thread, 0,
                     "the warps of a warpgroup multiply differently often: %s, but warp %d has returned", name, other);
    } else if (all[n].name != name || all[n].operand != call.operand || all[n].first != call.first) {
        fail("BarrierDivergence", site, thread, all[n].site,
             "the warps of a warpgroup multiply differently: %s here, where another's %s at {other} has other operands "
             "or is another instruction",
             name, all[n].name);
    }
    return call;
}

static void fence_products(Warp& warp, uint32_t who) {
    execute_alike(warp, who, "begin_products");
    watch_registers();
    EACH_LANE(lane, who) last_fence[thread_of(warp, lane)] = ++fence_count;
    products_of[warp_number(warp)].begun = true;
}

// The GPU may still be to write to registers, or may read them too early, if no fence follows what was done to them.
static void check_fence(const Product& product, int lane, int thread) {
    auto done_since = [&](const void* at, int count, bool reads) {
        const Register* const first = registers_at(thread, at);
        for (int i = 0; first && i < count; ++i)
            if (first[i].written == last_fence[thread] || (reads && first[i].read == last_fence[thread])) return true;
        return false;
    };
    const char* const what = done_since(product.a_at[lane], 4, false)                ? "left factor was written"
                             : done_since(product.sums[lane], GROUP_SUMS, true) ? "sums were accessed"
                                                                                : nullptr;
    if (what)
        fail("MissingFence", product.site, thread, 0, "multiplies, but its %s since the last begin_products()", what);
}

[[noreturn]] static void fail_changed(const Product& product, int thread, const char* what) {
    fail("RegistersInFlight", product.site, thread, 0, "the %s of this product changed before it was awaited", what);
}

static void check_sums_in_flight(const Product& product, int lane, int thread) {
    const float* const sum = product.sums[lane];
    for (int i = 0; i < GROUP_SUMS; ++i)
        if (bits_of(sum[i]) != IN_FLIGHT) fail_changed(product, thread, "sums");
}

static SumsInFlight* sums_in_flight(WarpProducts& of, const float* at) {
    for (SumsInFlight& sums : of.sums)
        if (sums.at[0] == at) return &sums;
    return nullptr;
}

static void occupy_registers(const Product& product, int first_thread, Site site) {
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        occupy_registers(first_thread + lane, product.sums[lane], GROUP_SUMS, site);
        occupy_registers(first_thread + lane, product.a_at[lane], 4, site);
    }
}

static void start_product(Warp& warp, uint32_t who) {
    const ProductCall& call = execute_alike(warp, who, "multiply_group");
    WarpProducts& mine = products_of[warp_number(warp)];
    const int first_thread = thread_of(warp, 0);
    Product product = {warp.lanes[0].site, 0, mine.group, call.operand, call.first, {}, {}, {}};
    if (!mine.begun)
        fail("MissingFence", product.site, current->thread, 0,
             "multiplies with no begin_products() since it last awaited products, or ever");
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        const ProductCall& of = product_calls[first_thread + lane];
        product.sums[lane] = of.sum, product.a_at[lane] = of.a;
        memcpy(product.a + 4 * lane, of.a, 4 * sizeof *of.a);
        check_fence(product, lane, first_thread + lane);
    }
    SumsInFlight* sums = sums_in_flight(mine, product.sums[0]);
    const bool chained = sums;
    if (!chained) sums = (mine.sums.emplace_back(), &mine.sums.back());
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        float* const at = product.sums[lane];
        if (chained ? sums->at[lane] != at : !registers_at(first_thread + lane, at))
            fail("RegistersInFlight", product.site, first_thread + lane, 0, "the sums are not the thread's own");
        if (chained) check_sums_in_flight(product, lane, first_thread + lane);
        else memcpy(sums->values[lane], at, sizeof sums->values[lane]);
        sums->at[lane] = at;
        for (int i = 0; i < GROUP_SUMS; ++i) at[i] = float_of(IN_FLIGHT);
    }
    for (int columns = 0; columns < 8; ++columns)
        for (int rows = 0; rows < 2; ++rows) {
            const Access core = core_of(product, columns, rows);
            check_shared(core);
            check_shown(core);
        }
    // what is written from now on is later
    product.issued = now++;
    occupy_registers(product, first_thread, product.site);
    mine.pending.push_back(product);
    if (warp_number(warp) % WARPS_OF_GROUP == 0) ++outcome->group_products;
}

// The right factor's columns, 8 by 8. The warps of a group have the same, and it is decoded once.
static const double (&right_factor_of(const Product& product))[8][16][8] {
    enum { HALVES = 16 * 64 };
    static uint16_t halves[HALVES];  // zeros are zero
    static double decoded[8][16][8];
    uint16_t read[8][2][CORE_BYTES / 2];
    for (int columns = 0; columns < 8; ++columns)
        for (int rows = 0; rows < 2; ++rows) {
            const Access core = core_of(product, columns, rows);
            check_shared(core);
            check_not_written_since(core, product.issued);
            memcpy(read[columns][rows], emulated_dynamic_shared + GUARD + core.byte, CORE_BYTES);
        }
    if (!memcmp(halves, read, sizeof halves)) return decoded;
    memcpy(halves, read, sizeof halves);
    float values[HALVES];
    for (int i = 0; i < HALVES; ++i) values[i] = half_value(halves[i]);
    for (int i = 0; i < HALVES; ++i) decoded[i / 128][i / 64 % 2 * 8 + i % 8][i / 8 % 8] = values[i];
    return decoded;
}

static void finish_product(WarpProducts& mine, const Product& product, int first_thread) {
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        check_sums_in_flight(product, lane, first_thread + lane);
        if (memcmp(product.a + 4 * lane, product.a_at[lane], 4 * sizeof *product.a))
            fail_changed(product, first_thread + lane, "left factor");
    }
    double a[16][16];
    left_factor(product.a, a);
    const double(&b)[8][16][8] = right_factor_of(product);
    SumsInFlight& in_flight = *sums_in_flight(mine, product.sums[0]);
    if (product.first) memset(in_flight.values, 0, sizeof in_flight.values);
    for (int columns = 0; columns < 8; ++columns) {
        float sums[LANES_PER_WARP][4];
        for (int lane = 0; lane < LANES_PER_WARP; ++lane)
            memcpy(sums[lane], in_flight.values[lane] + 4 * columns, sizeof sums[lane]);
        add_product(sums, a, b[columns]);
        for (int lane = 0; lane < LANES_PER_WARP; ++lane)
            memcpy(in_flight.values[lane] + 4 * columns, sums[lane], sizeof sums[lane]);
    }
}

static void await_products(Warp& warp, uint32_t who) {
    const uint64_t pending = execute_alike(warp, who, "await_product_groups").operand;
    WarpProducts& mine = products_of[warp_number(warp)];
    const int first_thread = thread_of(warp, 0);
    mine.begun = false;
    size_t done = 0;
    while (done < mine.pending.size() && mine.pending[done].group + pending < mine.group)
        finish_product(mine, mine.pending[done++], first_thread);
    for (size_t i = 0; i < done; ++i) occupy_registers(mine.pending[i], first_thread, 0);
    mine.pending.erase(mine.pending.begin(), mine.pending.begin() + done);
    for (const Product& left : mine.pending) occupy_registers(left, first_thread, left.site);
    auto is_done = [&](const SumsInFlight& sums) {
        for (const Product& left : mine.pending)
            if (left.sums[0] == sums.at[0]) return false;
        for (int lane = 0; lane < LANES_PER_WARP; ++lane)
            memcpy(sums.at[lane], sums.values[lane], sizeof sums.values[lane]);
        return true;
    };
    mine.sums.erase(std::remove_if(mine.sums.begin(), mine.sums.end(), is_done), mine.sums.end());
}

extern "C" void emulated_begin_products() {
    product_calls[current->thread] = {};
    meet("begin_products", ALL_LANES, CALLER, fence_products);
}

extern "C" void emulated_multiply_group(float* sum, const unsigned* a, unsigned long long b, bool first) {
    product_calls[current->thread] = {sum, a, b, first};
    meet("multiply_group", ALL_LANES, CALLER, start_product);
}

extern "C" void emulated_end_product_group() {
    product_calls[current->thread] = {};
    meet("end_product_group", ALL_LANES, CALLER, [](Warp& warp, uint32_t who) {
        execute_alike(warp, who, "end_product_group");
        ++products_of[warp_number(warp)].group;
    });
}

extern "C" void emulated_await_product_groups(int pending) {
    product_calls[current->thread] = {nullptr, nullptr, (uint64_t)pending, false};
    meet("await_product_groups", ALL_LANES, CALLER, await_products);
}

static void check_products_at_return() {
    const int warp = current->thread / LANES_PER_WARP;
    const WarpProducts& mine = products_of[warp];
    if (!mine.pending.empty())
        fail("PendingProducts", mine.pending[0].site, current->thread, 0,
             "this product is never awaited: the thread returns with %d pending", (int)mine.pending.size());
    const std::vector<GroupInstruction>& all = instructions_of[warp / WARPS_OF_GROUP];
    if (mine.done < all.size())
        fail("BarrierDivergence", all[mine.done].site, current->thread, 0,
             "the warps of a warpgroup multiply differently often: warp %d returns with no %s", warp,
             all[mine.done].name);
}

static void reset_products() {
    for (int warp = 0; warp < MAX_WARPS; ++warp) {
        WarpProducts& mine = products_of[warp];
        for (const Product& product : mine.pending) occupy_registers(product, warp * LANES_PER_WARP, 0);
        mine.pending.clear(), mine.sums.clear();
        mine.group = 0, mine.begun = false, mine.done = 0;
        instructions_of[warp / WARPS_OF_GROUP].clear();
    }
    for (std::vector<uint32_t>& times : shown) times.clear();
    memset(last_fence, 0, sizeof last_fence);
}
