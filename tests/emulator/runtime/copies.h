// cp.async: a copy is delivered when its thread awaits it, as late as CUDA allows. From its start until then its
// destination is nobody's to touch; that which it will have written, it wrote on delivery.

struct Copy {
    Access to;
    unsigned char* shared;
    const void* from;
    uint32_t group;
    bool there;
};
struct Copies {
    std::vector<Copy> pending;
    uint32_t group;  // that of the next copy: so many have ended
};
static Copies copies_of[MAX_THREADS];

extern "C" void emulated_copy_async(void* shared, const void* from, int bytes, bool there) {
    const Site site = CALLER;
    const uintptr_t to = (uintptr_t)shared;
    if (to & (bytes - 1)) fail_misaligned(bytes, true, site);
    if (there && (uintptr_t)from & (bytes - 1)) fail_misaligned(bytes, false, site);
    Access access, source;
    if (is_on_stack(to) || !find_shared(to, bytes, true, site, access))
        fail("OutOfBounds", site, current->thread, 0, "copies to what is not shared memory");
    if (there && (is_on_stack((uintptr_t)from) || find_shared((uintptr_t)from, bytes, false, site, source)))
        fail("OutOfBounds", site, current->thread, 0, "copies from what is not global memory");
    if (there) check_global((uintptr_t)from, bytes, false, site);
    check_shared(access);
    record_access(site, access.byte, bytes, false);
    each_history(access, [](History& of, uint32_t) { of.in_flight = true; });
    Copies& mine = copies_of[current->thread];
    mine.pending.push_back({access, (unsigned char*)shared, from, mine.group, there});
    ++outcome->copies;
}

extern "C" void emulated_end_copy_group() { ++copies_of[current->thread].group; }

static void deliver(const Copy& copy) {
    if (copy.there) memcpy(copy.shared, copy.from, copy.to.size);
    else memset(copy.shared, 0, copy.to.size);
    each_history(copy.to, [](History& of, uint32_t) { of.write.when = now, of.in_flight = false; });
}

extern "C" void emulated_await_copy_groups(int pending) {
    Copies& mine = copies_of[current->thread];
    size_t delivered = 0;
    while (delivered < mine.pending.size() && mine.pending[delivered].group + pending < mine.group)
        deliver(mine.pending[delivered++]);
    mine.pending.erase(mine.pending.begin(), mine.pending.begin() + delivered);
}

static void check_copies_at_return() {
    const Copies& mine = copies_of[current->thread];
    if (!mine.pending.empty())
        fail("PendingCopies", mine.pending[0].to.site, current->thread, 0,
             "this copy is never awaited: the thread returns with %d pending", (int)mine.pending.size());
}

static void reset_copies() {
    for (Copies& copies : copies_of) copies.pending.clear(), copies.group = 0;
}
