// What blocks find of one another's in global memory. Blocks run one after another here, and on a GPU at any time: what
// another block wrote is there for sure only if the thread that wrote it passed a fence, then, maybe behind a barrier, a
// thread of that block an atomic of some word; and later a thread of this block an atomic of the same word, and the thread
// that reads, maybe behind a barrier, a fence.

struct GlobalWrite {
    uint32_t block;  // the number of its turn
    int thread, place[3];
    uint64_t tick;
    Site site;
};
// By the address of a word of 4 bytes; those of this launch.
static std::unordered_map<uintptr_t, GlobalWrite> global_writes;
// Counts fences, atomics and writes of the launch.
static uint64_t tick;
static uint32_t block_turn;

// Of each thread of the block, its last fence.
struct Fence {
    uint64_t tick;
    uint32_t time;
};
static Fence fences[MAX_THREADS];

// What a block's atomic of a word releases: of each thread the writes before a tick.
struct Release {
    uint32_t block;
    std::vector<uint64_t> until;
};
static std::unordered_map<uintptr_t, std::vector<Release>> releases;

// An atomic of this block, and how many releases of its word there were.
struct Acquisition {
    uintptr_t word;
    size_t releases;
    int thread;
    uint32_t time;
    uint64_t tick;
};
static std::vector<Acquisition> acquisitions;

static void start_grid_in_global_memory() {
    global_writes.clear(), releases.clear();
    tick = block_turn = 0;
}

static void start_block_in_global_memory() {
    ++block_turn;
    acquisitions.clear();
    memset(fences, 0, sizeof fences);
}

extern "C" void emulated_fence() { fences[current->thread] = {++tick, now}; }

static void pass_atomic(uintptr_t word) {
    std::vector<Release>& of_word = releases[word];
    acquisitions.push_back({word, of_word.size(), current->thread, now, ++tick});
    Release own = {block_turn, std::vector<uint64_t>(threads)};
    for (int i = 0; i < threads; ++i)
        if (fences[i].tick && is_ordered(fences[i].time, i, current->thread)) own.until[i] = fences[i].tick;
    of_word.push_back(own);
}

static bool is_released(const GlobalWrite& write) {
    const Fence& fence = fences[current->thread];
    for (const Acquisition& of : acquisitions) {
        const bool own = of.thread == current->thread;
        const bool before = is_ordered(of.time, of.thread, current->thread) && of.time < fence.time;
        if (own ? of.tick > fence.tick : !before) continue;
        const std::vector<Release>& of_word = releases[of.word];
        for (size_t i = 0; i < of.releases; ++i)
            if (of_word[i].block == write.block && write.tick < of_word[i].until[write.thread]) return true;
    }
    return false;
}

static void check_global(uintptr_t at, uint32_t size, bool write, Site site) {
    if (grid[0] * grid[1] * grid[2] == 1) return;
    const Array* const array = array_of(at, size, write);
    if (!array || array->kind != Kind::writable) return;
    for (uintptr_t word = at / 4; word <= (at + size - 1) / 4; ++word) {
        if (write) {
            global_writes[word] = {block_turn, current->thread, {block[0], block[1], block[2]}, ++tick, site};
            continue;
        }
        const auto found = global_writes.find(word);
        if (found == global_writes.end() || found->second.block == block_turn || is_released(found->second)) continue;
        const GlobalWrite& other = found->second;
        fail("GlobalMemoryRace", site, current->thread, other.site,
             "reads %u bytes at byte %lld of %s, which block (%d, %d, %d) wrote at {other}, with no fence, atomic and fence "
             "in between",
             size, (long long)(at - array->begin), array->name, other.place[0], other.place[1], other.place[2]);
    }
}
