// What the lanes of a warp do together: the last of them to arrive does it for all.

enum { ALL_LANES = 0xffffffff };

struct Lane {
    // what it brings, and what it gets
    unsigned words[6], results[4];
    float sums[4];
    int from;  // a shuffle's source
    const void* row;
    Site site;
};
struct Warp {
    uint32_t living, arrived;
    // of those that have arrived; lanes of different masks may be at different instructions
    uint32_t masks[LANES_PER_WARP];
    const char* instructions[LANES_PER_WARP];
    void (*complete[LANES_PER_WARP])(Warp&, uint32_t);
    Lane lanes[LANES_PER_WARP];
};
static Warp warps[MAX_WARPS];

static Warp& my_warp() { return warps[current->thread / LANES_PER_WARP]; }
static int my_lane() { return current->thread % LANES_PER_WARP; }
static int warp_number(const Warp& warp) { return (int)(&warp - warps); }
static int thread_of(const Warp& warp, int lane) { return warp_number(warp) * LANES_PER_WARP + lane; }
static int first_lane(uint32_t mask) { return __builtin_ctz(mask); }

#define EACH_LANE(lane, mask) for (uint32_t left_ = (mask), lane; left_ && (lane = first_lane(left_), true); left_ &= left_ - 1)

// All of `who` are there.
static void complete_collective(Warp& warp, uint32_t who) {
    const int leader = first_lane(who);
    idle_turns = 0;
    if (who == warp.living) count_banks(warp_number(warp));
    warp.complete[leader](warp, who);
    warp.arrived &= ~who;
    EACH_LANE(lane, who)
    if (thread_of(warp, lane) != current->thread) make_runnable(thread_of(warp, lane));
}

// Once all that a waiting lane waits for are at the same instruction, with the same mask.
static void complete_if_all_are_there(Warp& warp, int of) {
    const uint32_t awaited = warp.masks[of] & warp.living;
    uint32_t there = 0;
    EACH_LANE(lane, awaited & warp.arrived)
    there |= (uint32_t)(warp.masks[lane] == warp.masks[of] && warp.instructions[lane] == warp.instructions[of]) << lane;
    if (there == awaited) complete_collective(warp, awaited);
}

// Until all lanes of the mask that live are at the same instruction; `complete` then serves them.
static Lane& meet(const char* instruction, uint32_t mask, Site site, void (*complete)(Warp&, uint32_t)) {
    Warp& warp = my_warp();
    const int me = my_lane();
    if (!(mask >> me & 1))
        fail("BarrierDivergence", site, current->thread, 0, "%s with the mask %08x, in which its own lane is not",
             instruction, mask);
    // another that waits for this one elsewhere waits for ever; one that does not may yet come
    EACH_LANE(lane, mask & warp.arrived)
    if (warp.masks[lane] >> me & 1 && (warp.instructions[lane] != instruction || warp.masks[lane] != mask))
        fail("BarrierDivergence", site, current->thread, warp.lanes[lane].site,
             "%s with the mask %08x, while lane %d waits at {other} for %s with the mask %08x", instruction, mask,
             (int)lane, warp.instructions[lane], warp.masks[lane]);
    warp.arrived |= 1u << me;
    warp.masks[me] = mask, warp.instructions[me] = instruction, warp.complete[me] = complete;
    warp.lanes[me].site = site;
    complete_if_all_are_there(warp, me);
    if (warp.arrived >> me & 1) wait(site, instruction);
    return warp.lanes[me];
}

// Of the instructions that a whole warp must execute.
static void check_whole_warp(const Warp& warp, uint32_t who) {
    const int lane = first_lane(who);
    if (who != ALL_LANES)
        fail("BarrierDivergence", warp.lanes[lane].site, thread_of(warp, lane), 0,
             "%s needs all 32 lanes, but others than %08x have returned", warp.instructions[lane], who);
}

static void lane_returns() {
    Warp& warp = my_warp();
    warp.living &= ~(1u << my_lane());
    EACH_LANE(lane, warp.arrived)
    if (warp.arrived >> lane & 1) complete_if_all_are_there(warp, (int)lane);
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
