// Shared memory: who wrote it, and who read it, last.

enum { MAX_SHARED = 232448, MAX_STATIC_SHARED = 1 << 18, GUARD = 65536 };
// What a kernel finds in shared memory that it did not write: NaN.
enum { POISON = 0xff };

extern "C" {
// The launch's bytes lie GUARD bytes from the start.
alignas(128) unsigned char emulated_dynamic_shared[GUARD + MAX_SHARED + GUARD] __attribute__((visibility("hidden")));
}
static int dynamic_bytes;

enum : uint8_t { ATOMIC = 1, IN_FLIGHT = 2 };
struct History {
    uint32_t written, read[2];  // when
    Site write_site, read_site[2];
    uint16_t writer, reader[2];
    uint8_t flags;  // of the last write
};
// Of each word; and of its bytes, once a block has accessed some of them alone: split_in then holds when that block began.
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

static inline void check_write_before(const Access& access, uint32_t i, const History& of, int me) {
    if (of.written < block_start) return;
    if (of.flags & IN_FLIGHT) fail_race(access, i, "is still copying to, by a copy that it started", of.writer, of.write_site);
    if (access.atomic && of.flags & ATOMIC) return;
    if (!is_ordered(of.written, of.writer, me))
        fail_race(access, i, "wrote, with no barrier in between,", of.writer, of.write_site);
}

static inline void check_reads_before(const Access& access, uint32_t i, const History& of, int me) {
    for (int k = 0; k < 2; ++k)
        if (!is_ordered(of.read[k], of.reader[k], me))
            fail_race(access, i, "read, with no barrier in between,", of.reader[k], of.read_site[k]);
}

// Two readers are remembered, so that a writer is never the only one: the latest, and of two warps where there are two.
// A sync orders a whole warp, a barrier all, so that nothing is missed but what a named barrier leaves unordered.
static inline void remember_reader(History& of, int me, Site site) {
    int k;
    if (of.reader[0] == me) k = 0;
    else if (of.reader[1] == me) k = 1;
    else {
        const int warp = me / LANES_PER_WARP;
        const int warps[2] = {of.reader[0] / LANES_PER_WARP, of.reader[1] / LANES_PER_WARP};
        const bool current_0 = of.read[0] >= epoch_start, current_1 = of.read[1] >= epoch_start;
        if (current_0 && current_1 && warps[0] != warps[1] && (warp == warps[0] || warp == warps[1])) k = warp == warps[1];
        else k = of.read[1] <= of.read[0];
    }
    of.read[k] = now, of.reader[k] = (uint16_t)me, of.read_site[k] = site;
}

// A read of what nobody wrote yet. If it is written before the next barrier, the two race; else nobody ever wrote it. So
// the error waits until then.
struct UnwrittenRead {
    bool found;
    Access access;
    uint32_t byte;
    int thread;
};
static UnwrittenRead unwritten_read;

static void check_unwritten_read() {
    const UnwrittenRead& read = unwritten_read;
    if (read.found)
        fail("UninitialisedRead", read.access.site, read.thread, 0, "reads byte %u of %s, which nobody wrote",
             read.access.byte + read.byte, read.access.array);
}

static void check_shared(const Access& access) {
    const int me = current->thread;
    each_history(access, [&](History& history, uint32_t i) {
        check_write_before(access, i, history, me);
        if ((!access.write || access.atomic) && history.written < block_start && !unwritten_read.found)
            unwritten_read = {true, access, i, me};
        if (access.write) {
            check_reads_before(access, i, history, me);
            history.written = now, history.writer = (uint16_t)me, history.write_site = access.site;
            history.flags = access.atomic ? ATOMIC : 0;
        } else {
            remember_reader(history, me, access.site);
        }
    });
}
