// Products of warpgroups (PTX, "wgmma"): each warp does its 16 rows when it awaits them, as late as CUDA allows. Until then
// its sums are NaN. What it reads of shared memory nobody may write from the product's start until it is awaited: it is
// looked at both times.
//
// The left factor is taken at the start: a C++ variable that changes later is another register to the assembler.

enum { GROUP_COLUMNS = 64, GROUP_DEPTH = 16, GROUP_ROWS = 16, GROUP_SUMS = 32, WARPS_OF_GROUP = 4 };
// What sums hold while they are computed: a NaN.
enum : uint32_t { COMPUTING = 0x7fc0c0de };

// Of one array of sums of a warp, with products in flight: its lanes' arrays, and what will be in them.
struct GroupSum {
    float* at[LANES_PER_WARP];
    float values[GROUP_ROWS][GROUP_COLUMNS];
    int in_flight;
};
struct GroupProduct {
    float left[GROUP_ROWS][GROUP_DEPTH];
    uint64_t right;
    float* sum;  // the first lane's
    bool first;
    uint32_t group;
    Site site;
};
struct GroupProducts {
    std::vector<GroupProduct> pending;
    std::vector<GroupSum> sums;
    uint32_t group, started;  // that of the next product; and how many there were
    bool begun;
};
static GroupProducts group_products_of[MAX_WARPS];
// When each thread showed what it had written to the products of others.
static std::vector<uint32_t> shown[MAX_THREADS];

extern "C" void emulated_show_products() {
    shown[current->thread].push_back(now);
    ++now;  // what is written behind it is later
}

extern "C" unsigned long long emulated_right_factor(const void* shared, unsigned rows_apart, unsigned columns_apart) {
    const Site site = CALLER;
    const uintptr_t byte = (uintptr_t)shared - (uintptr_t)emulated_dynamic_shared - GUARD;
    if (((uintptr_t)shared | rows_apart | columns_apart) & 15) fail_misaligned(16, false, site);
    if (byte >= (uintptr_t)dynamic_bytes)
        fail("OutOfBounds", site, current->thread, 0, "a right factor that does not lie in dynamic shared memory");
    return byte >> 4 | (uint64_t)(rows_apart >> 4 & 0x3fff) << 16 | (uint64_t)(columns_apart >> 4 & 0x3fff) << 32;
}

// Calls back with each 16 bytes of the right factor: where they begin in shared memory, their column and first row.
template <typename Visitor>
static void each_piece(uint64_t right, Visitor visit) {
    const uint32_t first = (right & 0x3fff) << 4, rows = (right >> 16 & 0x3fff) << 4, columns = (right >> 32 & 0x3fff) << 4;
    for (uint32_t column = 0; column < GROUP_COLUMNS; ++column)
        for (uint32_t row = 0; row < GROUP_DEPTH; row += 8)
            visit(first + row / 8 * rows + column / 8 * columns + column % 8 * 16, column, row);
}

// As a read by whichever lane is current, and whether what it reads was shown: products go past the other accesses.
static void check_right(uint64_t right, Site site) {
    each_piece(right, [&](uint32_t byte, uint32_t, uint32_t) {
        Access access;
        find_shared((uintptr_t)emulated_dynamic_shared + GUARD + byte, 16, false, site, access);
        check_shared(access);
        each_history(access, [&](History& of, uint32_t i) {
            if (of.write.when < block_start) return;
            const std::vector<uint32_t>& times = shown[of.write.who];
            size_t k = times.size();
            while (k > 0 && times[k - 1] >= of.write.when) --k;  // the first time behind the write
            if (k == times.size() || !is_ordered(times[k], of.write.who, current->thread))
                fail("MissingProxyFence", site, current->thread, of.write.site,
                     "multiplies byte %u of %s, which thread %d wrote at {other} and did not show before a barrier",
                     access.byte + i, access.array, of.write.who);
        });
    });
}

static GroupSum* sum_of(GroupProducts& mine, const float* first_lane_at) {
    for (GroupSum& sum : mine.sums)
        if (sum.at[0] == first_lane_at) return &sum;
    return nullptr;
}

// Runs visit(a lane's value, row, column) for all of a warp's sums.
template <typename Visitor>
static void each_sum(const GroupSum& sum, Visitor visit) {
    for (int lane = 0; lane < LANES_PER_WARP; ++lane)
        for (int i = 0; i < GROUP_SUMS; ++i)
            visit(sum.at[lane][i], lane / 4 + i % 4 / 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2);
}

static void start_product(Warp& warp, uint32_t who) {
    check_whole_warp(warp, who, "multiply_group");
    GroupProducts& mine = group_products_of[warp_number(warp)];
    const Lane& leader = warp.lanes[0];
    const Site site = leader.site;
    if (threads % (WARPS_OF_GROUP * LANES_PER_WARP))
        fail("BarrierDivergence", site, current->thread, 0, "%d threads are no whole number of warpgroups", threads);
    if (!mine.begun)
        fail("MissingFence", site, current->thread, 0, "multiplies without begin_products since the start, or the last wait");
    GroupProduct product = {{}, leader.factor, leader.group_sum, leader.first, mine.group, site};
    GroupSum sum = {};
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        const Lane& of = warp.lanes[lane];
        if (of.factor != leader.factor || of.first != leader.first)
            fail("BarrierDivergence", site, thread_of(warp, lane), 0, "its right factor is not that of the other lanes");
        sum.at[lane] = of.group_sum;
        for (int i = 0; i < 4; ++i) {
            float* const to = &product.left[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8];
            to[0] = half_value(of.words[i] & 0xffff), to[1] = half_value(of.words[i] >> 16);
        }
    }
    check_right(product.right, site);
    if (!sum_of(mine, product.sum)) {
        each_sum(sum, [&](float& value, int row, int column) {
            sum.values[row][column] = value;
            value = float_of(COMPUTING);
        });
        mine.sums.push_back(sum);
    }
    ++sum_of(mine, product.sum)->in_flight;
    mine.pending.push_back(product);
    ++mine.started;
    if (warp_number(warp) % WARPS_OF_GROUP == 0) ++outcome->group_products;
}

static void finish_product(GroupProducts& mine, const GroupProduct& product) {
    check_right(product.right, product.site);
    static float right[GROUP_DEPTH][GROUP_COLUMNS];
    each_piece(product.right, [&](uint32_t byte, uint32_t column, uint32_t row) {
        uint16_t halves[8];
        memcpy(halves, emulated_dynamic_shared + GUARD + byte, sizeof halves);
        for (int i = 0; i < 8; ++i) right[row + i][column] = half_value(halves[i]);
    });
    GroupSum& sum = *sum_of(mine, product.sum);
    for (int row = 0; row < GROUP_ROWS; ++row) {
        double sums[GROUP_COLUMNS];
        for (int column = 0; column < GROUP_COLUMNS; ++column) sums[column] = product.first ? 0 : sum.values[row][column];
        for (int k = 0; k < GROUP_DEPTH; ++k)
            for (int column = 0; column < GROUP_COLUMNS; ++column)
                sums[column] += (double)product.left[row][k] * right[k][column];
        for (int column = 0; column < GROUP_COLUMNS; ++column) sum.values[row][column] = toward_zero(sums[column]);
    }
    if (--sum.in_flight) return;
    each_sum(sum, [&](float& value, int row, int column) {
        if (bits_of(value) != COMPUTING)
            fail("RegistersInFlight", product.site, current->thread, 0, "the sums of this product are written before it is awaited");
        value = sum.values[row][column];
    });
    mine.sums.erase(mine.sums.begin() + (&sum - mine.sums.data()));
}

extern "C" void emulated_multiply_group(float* sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                        unsigned long long right, bool first) {
    Lane& mine = my_warp().lanes[my_lane()];
    mine.words[0] = a0, mine.words[1] = a1, mine.words[2] = a2, mine.words[3] = a3;
    mine.group_sum = sum, mine.factor = right, mine.first = first;
    meet("multiply_group", ALL_LANES, CALLER, start_product);
}

extern "C" void emulated_begin_products() {
    meet("begin_products", ALL_LANES, CALLER, [](Warp& warp, uint32_t who) {
        check_whole_warp(warp, who, "begin_products");
        group_products_of[warp_number(warp)].begun = true;
    });
}

extern "C" void emulated_end_product_group() {
    meet("end_product_group", ALL_LANES, CALLER, [](Warp& warp, uint32_t who) {
        check_whole_warp(warp, who, "end_product_group");
        ++group_products_of[warp_number(warp)].group;
    });
}

extern "C" void emulated_await_product_groups(int pending) {
    my_warp().lanes[my_lane()].words[0] = (unsigned)pending;
    meet("await_product_groups", ALL_LANES, CALLER, [](Warp& warp, uint32_t who) {
        check_whole_warp(warp, who, "await_product_groups");
        GroupProducts& mine = group_products_of[warp_number(warp)];
        size_t done = 0;
        while (done < mine.pending.size() && mine.pending[done].group + warp.lanes[0].words[0] < mine.group)
            finish_product(mine, mine.pending[done++]);
        mine.pending.erase(mine.pending.begin(), mine.pending.begin() + done);
        mine.begun = false;
    });
}

static void check_products_at_return() {
    const GroupProducts& mine = group_products_of[current->thread / LANES_PER_WARP];
    if (!mine.pending.empty())
        fail("PendingProducts", mine.pending[0].site, current->thread, 0,
             "this product is never awaited: the thread returns with %d pending", (int)mine.pending.size());
}

// The four warps of a group start the same products, each by itself.
static void check_products_of_block() {
    for (int warp = 0; warp * LANES_PER_WARP < threads; ++warp) {
        const int first = warp / WARPS_OF_GROUP * WARPS_OF_GROUP;
        if (group_products_of[warp].started != group_products_of[first].started)
            fail("BarrierDivergence", 0, warp * LANES_PER_WARP, 0, "warp %d started %d products, warp %d of its group %d", warp,
                 (int)group_products_of[warp].started, first, (int)group_products_of[first].started);
    }
}

static void reset_products() {
    for (GroupProducts& products : group_products_of) products = {};
    for (std::vector<uint32_t>& times : shown) times.clear();
}
