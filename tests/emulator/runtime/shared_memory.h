// Shared memory: for each byte who wrote it, and who read it, last.

enum { MAX_SHARED = 232448, MAX_STATIC_SHARED = 1 << 18, GUARD = 65536 };
// What a kernel finds in shared memory that it did not write: NaN.
enum { POISON = 0xff };

extern "C" {
// The launch's bytes lie GUARD bytes from the start.
alignas(128) unsigned char emulated_dynamic_shared[GUARD + MAX_SHARED + GUARD] __attribute__((visibility("hidden")));
}
static int dynamic_bytes;

enum : uint8_t { ATOMIC = 1, IN_FLIGHT = 2 };
struct Byte {
    uint32_t written, read[2];  // when
    Site write_site, read_site[2];
    uint16_t writer, reader[2];
    uint8_t flags;  // of the last write
};
static Byte bytes_of_shared[MAX_SHARED + MAX_STATIC_SHARED];

struct Access {
    const char* array;   // what it touches
    uint32_t byte;       // its place in that
    uint32_t shadow;     // and in bytes_of_shared
    uint32_t size;
    bool write, atomic;
    Site site;
};

[[noreturn]] __attribute__((noinline)) static void fail_race(const Access& access, uint32_t byte, const char* other,
                                                             int thread, Site site) {
    fail("SharedMemoryRace", access.site, current->thread, site, "%s byte %u of %s, which thread %d %s at {other}",
         access.write ? "writes" : "reads", access.byte + byte, access.array, thread, other);
}

static inline void check_write_before(const Access& access, uint32_t i, const Byte& byte, int me) {
    if (byte.written < block_start) return;
    if (byte.flags & IN_FLIGHT) fail_race(access, i, "is still copying to, by a copy that it started", byte.writer, byte.write_site);
    if (access.atomic && byte.flags & ATOMIC) return;
    if (!is_ordered(byte.written, byte.writer, me))
        fail_race(access, i, "wrote, with no barrier in between,", byte.writer, byte.write_site);
}

static inline void check_reads_before(const Access& access, uint32_t i, const Byte& byte, int me) {
    for (int k = 0; k < 2; ++k)
        if (!is_ordered(byte.read[k], byte.reader[k], me))
            fail_race(access, i, "read, with no barrier in between,", byte.reader[k], byte.read_site[k]);
}

// Two readers are remembered, so that a writer is never the only one: the latest, and of two warps where there are two.
// A sync orders a whole warp, a barrier all, so that nothing is missed but what a named barrier leaves unordered.
static inline void remember_reader(Byte& byte, int me, Site site) {
    int k;
    if (byte.reader[0] == me) k = 0;
    else if (byte.reader[1] == me) k = 1;
    else {
        const int warp = me / LANES_PER_WARP;
        const int warps[2] = {byte.reader[0] / LANES_PER_WARP, byte.reader[1] / LANES_PER_WARP};
        const bool current_0 = byte.read[0] >= epoch_start, current_1 = byte.read[1] >= epoch_start;
        if (current_0 && current_1 && warps[0] != warps[1] && (warp == warps[0] || warp == warps[1])) k = warp == warps[1];
        else k = byte.read[1] <= byte.read[0];
    }
    byte.read[k] = now, byte.reader[k] = (uint16_t)me, byte.read_site[k] = site;
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
    Byte* const bytes = bytes_of_shared + access.shadow;
    for (uint32_t i = 0; i < access.size; ++i) {
        Byte& byte = bytes[i];
        check_write_before(access, i, byte, me);
        if ((!access.write || access.atomic) && byte.written < block_start && !unwritten_read.found)
            unwritten_read = {true, access, i, me};
        if (access.write) {
            check_reads_before(access, i, byte, me);
            byte.written = now, byte.writer = (uint16_t)me, byte.write_site = access.site;
            byte.flags = access.atomic ? ATOMIC : 0;
        } else {
            remember_reader(byte, me, access.site);
        }
    }
}
