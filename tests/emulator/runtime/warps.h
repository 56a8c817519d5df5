// What the lanes of a warp do together: the last of them to arrive does it for all.

enum { ALL_LANES = 0xffffffff };

struct Warp;
struct Lane {
    // what it brings, and what it gets
    unsigned words[6], results[4];
    float sums[4];
    int from;  // a shuffle's source
    const void* row;
    Site site;
};
// Those that wait at one instruction with one mask.
struct Meeting {
    const char* instruction;
    uint32_t mask, arrived;
    void (*complete)(Warp&, uint32_t);
};
struct Warp {
    uint32_t living;
    int meeting_count;
    Meeting meetings[LANES_PER_WARP];
    Lane lanes[LANES_PER_WARP];
};
static Warp warps[MAX_WARPS];

static Warp& my_warp() { return warps[current->thread / LANES_PER_WARP]; }
static int my_lane() { return current->thread % LANES_PER_WARP; }
static int warp_number(const Warp& warp) { return (int)(&warp - warps); }
static int thread_of(const Warp& warp, int lane) { return warp_number(warp) * LANES_PER_WARP + lane; }
static int first_lane(uint32_t mask) { return __builtin_ctz(mask); }

#define EACH_LANE(lane, mask) \
    for (uint32_t left_ = (mask), lane; left_ && (lane = first_lane(left_), true); left_ &= left_ - 1)

static void reset_warp(Warp& warp, uint32_t living) { warp.living = living, warp.meeting_count = 0; }

// Once all that a meeting waits for are there.
static bool complete_if_all_are_there(Warp& warp, int number) {
    const Meeting meeting = warp.meetings[number];
    if (meeting.arrived != (meeting.mask & warp.living)) return false;
    warp.meetings[number] = warp.meetings[--warp.meeting_count];
    idle_turns = 0;
    if (meeting.arrived == warp.living) count_accesses(warp_number(warp));
    meeting.complete(warp, meeting.arrived);
    make_runnable(warp_number(warp), meeting.arrived);
    return true;
}

[[noreturn]] static void fail_mismatch(const Warp& warp, const Meeting& mine, const Meeting& other, uint32_t waiting) {
    const int lane = first_lane(waiting);
    fail("BarrierDivergence", warp.lanes[my_lane()].site, current->thread, warp.lanes[lane].site,
         "%s with the mask %08x, while lane %d waits at {other} for %s with the mask %08x", mine.instruction, mine.mask,
         lane, other.instruction, other.mask);
}

// Waits until all lanes of the mask that live are at the same instruction; `complete` serves them.
static Lane& meet(const char* instruction, uint32_t mask, Site site, void (*complete)(Warp&, uint32_t)) {
    Warp& warp = my_warp();
    const uint32_t me = 1u << my_lane();
    warp.lanes[my_lane()].site = site;
    if (!(mask & me))
        fail("BarrierDivergence", site, current->thread, 0, "%s with the mask %08x, in which its own lane is not",
             instruction, mask);
    const Meeting mine = {instruction, mask, 0, complete};
    int number = warp.meeting_count;
    for (int i = 0; i < warp.meeting_count; ++i) {
        const Meeting& other = warp.meetings[i];
        if (other.instruction == instruction && other.mask == mask) number = i;
        // one that waits for this lane elsewhere waits for ever; one that does not may yet come
        else if (other.mask & me && other.arrived & mask) fail_mismatch(warp, mine, other, other.arrived & mask);
    }
    if (number == warp.meeting_count) warp.meetings[warp.meeting_count++] = mine;
    warp.meetings[number].arrived |= me;
    current->state = State::waiting, current->waits_at = site, current->waits_for = instruction;
    complete_if_all_are_there(warp, number);
    run_another();
    return warp.lanes[my_lane()];
}

// Of the instructions that a whole warp must execute.
static void check_whole_warp(const Warp& warp, uint32_t who, const char* instruction) {
    const int lane = first_lane(who);
    if (who != ALL_LANES)
        fail("BarrierDivergence", warp.lanes[lane].site, thread_of(warp, lane), 0,
             "%s needs all 32 lanes, but others than %08x have returned", instruction, who);
}

static void lane_returns() {
    Warp& warp = my_warp();
    warp.living &= ~(1u << my_lane());
    for (int i = 0; i < warp.meeting_count;)
        if (!complete_if_all_are_there(warp, i)) ++i;
}

extern "C" void emulated_sync_warp(unsigned mask) {
    meet("__syncwarp", mask, CALLER, [](Warp& warp, uint32_t who) {
        int members[LANES_PER_WARP], count = 0;
        EACH_LANE(lane, who) members[count++] = thread_of(warp, lane);
        order(members, count, true);
    });
}

extern "C" unsigned emulated_shuffle(unsigned mask, unsigned value, int from) {
    Lane& mine = my_warp().lanes[my_lane()];
    mine.words[0] = value, mine.from = from;
    return meet("a shuffle", mask, CALLER, [](Warp& warp, uint32_t who) {
        EACH_LANE(lane, who) {
            const int source = warp.lanes[lane].from;
            // of a lane that takes no part CUDA promises nothing
            warp.lanes[lane].results[0] = who >> source & 1 ? warp.lanes[source].words[0] : 0xffffffff;
        }
    }).results[0];
}

static void vote(Warp& warp, uint32_t who) {
    uint32_t ballot = 0;
    EACH_LANE(lane, who) ballot |= warp.lanes[lane].words[0] << lane;
    EACH_LANE(lane, who) warp.lanes[lane].results[0] = ballot, warp.lanes[lane].results[1] = who;
}

extern "C" unsigned emulated_vote(unsigned mask, bool value, EmulatedResult result) {
    my_warp().lanes[my_lane()].words[0] = value;
    const char* const name = result == EmulatedResult::any   ? "__any_sync"
                             : result == EmulatedResult::all ? "__all_sync"
                                                             : "__ballot_sync";
    const Lane& mine = meet(name, mask, CALLER, vote);
    const unsigned ballot = mine.results[0], who = mine.results[1];
    return result == EmulatedResult::any ? ballot != 0 : result == EmulatedResult::all ? ballot == who : ballot;
}
