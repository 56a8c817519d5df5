// Shared memory: who wrote it, and who read it, last.

enum { MAX_SHARED = 232448, MAX_STATIC_SHARED = 1 << 18, GUARD = 65536 };
// What a kernel finds in shared memory that it did not write: NaN.
enum { POISON = 0xff };

extern "C" {
// The launch's bytes lie GUARD bytes from the start.
alignas(128) unsigned char emulated_dynamic_shared[GUARD + MAX_SHARED + GUARD] __attribute__((visibility("hidden")));
}
static int dynamic_bytes;

// An access that was: when, where in the code, by which thread.
struct Past {
    uint32_t when;
    Site site;
    uint16_t who;
};
// The last of a word or byte. Writes are ordered, or the second is an error; reads need not be, nor atomics.
struct History {
    Past write, reads[2], atomics[2];
    bool in_flight;  // the write is a copy that is not awaited yet
};
// Of each word; and of its bytes, once a block has accessed one of them alone: split_in is when that block began.
enum { MAX_WORDS = (MAX_SHARED + MAX_STATIC_SHARED) / 4 };
static History history_of_word[MAX_WORDS], history_of_byte[4 * MAX_WORDS];
static uint32_t split_in[MAX_WORDS];

struct Access {
    const char* array;   // what it touches
    uint32_t byte;       // its place in that
    uint32_t shadow;     // and among the histories
    uint32_t size;
    bool write, atomic;
    Site site;
};

// Calls back with each history that an access touches, and its first byte.
template <typename Visitor>
static inline void each_history(const Access& access, Visitor visit) {
    const uint32_t end = access.shadow + access.size;
    for (uint32_t at = access.shadow; at < end;) {
        const uint32_t word = at / 4;
        if (access.size >= 4 && split_in[word] != block_start) {
            visit(history_of_word[word], at - access.shadow);
            at += 4;
            continue;
        }
        if (split_in[word] != block_start) {
            split_in[word] = block_start;
            for (uint32_t i = 0; i < 4; ++i) history_of_byte[4 * word + i] = history_of_word[word];
        }
        for (const uint32_t word_end = 4 * word + 4; at < word_end && at < end; ++at)
            visit(history_of_byte[at], at - access.shadow);
    }
}

[[noreturn]] __attribute__((noinline)) static void fail_race(const Access& access, uint32_t byte, const char* other,
                                                             int thread, Site site) {
    fail("SharedMemoryRace", access.site, current->thread, site, "%s byte %u of %s, which thread %d %s at {other}",
         access.write ? "writes" : "reads", access.byte + byte, access.array, thread, other);
}

static inline void check_before(const Access& access, uint32_t i, const Past& past, const char* did) {
    if (!is_ordered(past.when, past.who, current->thread)) fail_race(access, i, did, past.who, past.site);
}

// Of reads, or atomics, two are remembered, so that the next writer has not done both. One that is ordered before this
// one need not be; else the latest are, of two warps where there are two. A sync orders a whole warp, a barrier all, so
// that nothing is missed but some of what a named barrier, or a sync of part of a warp, leaves unordered.
static inline int which_to_forget(const Past (&pasts)[2], int me) {
    if (pasts[0].who == me) return 0;
    if (pasts[1].who == me) return 1;
    const bool earlier[2] = {is_ordered(pasts[0].when, pasts[0].who, me), is_ordered(pasts[1].when, pasts[1].who, me)};
    if (earlier[0] != earlier[1]) return earlier[1];
    const int warp = me / LANES_PER_WARP;
    const int warps[2] = {pasts[0].who / LANES_PER_WARP, pasts[1].who / LANES_PER_WARP};
    if (!earlier[0] && warps[0] != warps[1] && (warp == warps[0] || warp == warps[1])) return warp == warps[1];
    return pasts[1].when <= pasts[0].when;
}

// A read of what nobody wrote yet. If it is written before the next barrier, the two race; else nobody wrote it. Until
// then the error waits.
struct UnwrittenRead {
    bool found;
    Access access;
    uint32_t byte;
    int thread;
};
static UnwrittenRead unwritten_read;

// Whether the kernel's plain accesses are reported: not where its lines are counted. Else nobody knows what was written.
static bool are_accesses_watched;

static void check_unwritten_read() {
    const UnwrittenRead& read = unwritten_read;
    if (read.found)
        fail("UninitialisedRead", read.access.site, read.thread, 0, "reads byte %u of %s, which nobody wrote",
             read.access.byte + read.byte, read.access.array);
}

static void check_shared(const Access& access) {
    const int me = current->thread;
    const Past mine = {now, access.site, (uint16_t)me};
    each_history(access, [&](History& of, uint32_t i) {
        const bool written = of.write.when >= block_start;
        if (written && of.in_flight)
            fail_race(access, i, "is still copying to, by a copy that it started", of.write.who, of.write.site);
        const bool reads = !access.write || access.atomic;
        if (reads && !written && are_accesses_watched && !unwritten_read.found) unwritten_read = {true, access, i, me};
        check_before(access, i, of.write, "wrote, with no barrier in between,");
        for (int k = 0; k < 2 && !access.atomic; ++k)
            check_before(access, i, of.atomics[k], "changed, with no barrier in between,");
        for (int k = 0; k < 2 && access.write; ++k)
            check_before(access, i, of.reads[k], "read, with no barrier in between,");
        if (access.atomic) of.atomics[which_to_forget(of.atomics, me)] = mine;
        else if (access.write) of.write = mine, of.in_flight = false;
        else of.reads[which_to_forget(of.reads, me)] = mine;
    });
}
