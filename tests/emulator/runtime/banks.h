// Bank conflicts, and what is fetched of global memory. What the lanes of a warp access by one instruction for the n-th
// time, since they last came together, is one access of the warp. The banks of shared memory, 32 of 4 bytes, serve 128
// bytes at a time: all lanes' words, or half of their 8 bytes, or a quarter of their 16; words of the same bank take turns
// (wavefronts). Global memory comes in sectors of 32 bytes, each once for all lanes that want some of it.

enum { BANKS = 32, SECTOR_BYTES = 32, MAX_INSTRUCTIONS = 1 << 14 };
// Before a warp's lanes come together: more do not count, or a thread that tries for ever would take all memory.
enum { MAX_EXECUTIONS = 1 << 12 };

struct Instruction {
    Site site;
    uint32_t size;
    uint64_t accesses, extra_wavefronts;
    uint64_t global_accesses, sectors, fewest_sectors;  // had the lanes' bytes been neighbours, and aligned
};
static std::vector<Instruction> instructions;
static uint16_t instruction_numbers[MAX_INSTRUCTIONS];  // a hash table; 0 is free, others are one more than the number

struct WarpAccess {
    uint32_t lanes;
    bool global;
    uint64_t places[LANES_PER_WARP];  // words of shared memory, or global addresses
};
struct Executions {
    uint32_t of_lane[LANES_PER_WARP];
    std::vector<WarpAccess> accesses;
};
struct WarpAccesses {
    std::vector<Executions> of_instruction;
    std::vector<int> touched;
};
static WarpAccesses warp_accesses[MAX_WARPS];

static int instruction_number(Site site, uint32_t size) {
    for (uint32_t hash = site * 2654435761u >> 18;; hash = (hash + 1) % MAX_INSTRUCTIONS) {
        if (!instruction_numbers[hash]) {
            instructions.push_back({site, size});
            return (instruction_numbers[hash] = (uint16_t)instructions.size()) - 1;
        }
        if (instructions[instruction_numbers[hash] - 1].site == site) return instruction_numbers[hash] - 1;
    }
}

static void clear_instructions() {
    instructions.clear();
    memset(instruction_numbers, 0, sizeof instruction_numbers);
}

// The most words that one bank has to give to some lanes, which access `width` words each.
static uint32_t wavefronts(const WarpAccess& access, int first, int end, uint32_t width) {
    uint64_t words[BANKS][LANES_PER_WARP];
    uint32_t counts[BANKS] = {}, most = 0;
    for (int lane = first; lane < end; ++lane) {
        if (!(access.lanes >> lane & 1)) continue;
        for (uint64_t word = access.places[lane]; word < access.places[lane] + width; ++word) {
            const uint32_t bank = word % BANKS;
            uint32_t i = 0;
            while (i < counts[bank] && words[bank][i] != word) ++i;
            if (i < counts[bank]) continue;
            words[bank][counts[bank]++] = word;
            if (counts[bank] > most) most = counts[bank];
        }
    }
    return most;
}

static void count_sectors(Instruction& instruction, const WarpAccess& access) {
    uint64_t places[LANES_PER_WARP], sectors[LANES_PER_WARP];
    int count = 0;
    for (int lane = 0; lane < LANES_PER_WARP; ++lane) {
        if (!(access.lanes >> lane & 1)) continue;
        places[count] = access.places[lane];
        sectors[count++] = access.places[lane] / SECTOR_BYTES;
    }
    std::sort(places, places + count);
    std::sort(sectors, sectors + count);
    const uint64_t bytes = (std::unique(places, places + count) - places) * instruction.size;
    ++instruction.global_accesses;
    instruction.sectors += std::unique(sectors, sectors + count) - sectors;
    instruction.fewest_sectors += (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES;
}

static void count_access(Instruction& instruction, const WarpAccess& access) {
    if (access.global) return count_sectors(instruction, access);
    const uint32_t width = instruction.size <= 4 ? 1 : instruction.size / 4;
    const int lanes = LANES_PER_WARP / (int)width;
    ++instruction.accesses;
    for (int first = 0; first < LANES_PER_WARP; first += lanes) {
        const uint32_t most = wavefronts(access, first, first + lanes, width);
        if (most > 1) instruction.extra_wavefronts += most - 1;
    }
}

static void record_access(Site site, uint64_t byte, uint32_t size, bool global) {
    const int number = instruction_number(site, size), lane = current->thread % LANES_PER_WARP;
    WarpAccesses& warp = warp_accesses[current->thread / LANES_PER_WARP];
    if ((size_t)number >= warp.of_instruction.size()) warp.of_instruction.resize(number + 1);
    Executions& executions = warp.of_instruction[number];
    const uint32_t n = executions.of_lane[lane];
    if (n == MAX_EXECUTIONS) return;
    ++executions.of_lane[lane];
    if (n >= executions.accesses.size()) {
        if (n == 0) warp.touched.push_back(number);
        executions.accesses.push_back({});
    }
    WarpAccess& access = executions.accesses[n];
    access.lanes |= 1u << lane;
    access.global = global;
    access.places[lane] = global ? byte : byte / 4;
}

// The warp's lanes have come together.
static void count_accesses(int warp_number) {
    WarpAccesses& warp = warp_accesses[warp_number];
    for (int number : warp.touched) {
        Executions& executions = warp.of_instruction[number];
        for (const WarpAccess& access : executions.accesses) count_access(instructions[number], access);
        executions.accesses.clear();
        memset(executions.of_lane, 0, sizeof executions.of_lane);
    }
    warp.touched.clear();
}

static void forget_accesses() {
    for (WarpAccesses& warp : warp_accesses) warp.of_instruction.clear(), warp.touched.clear();
}
