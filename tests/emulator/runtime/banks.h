// Bank conflicts. What the lanes of a warp access by one instruction for the n-th time, since they last came together,
// is one access of the warp. The banks, 32 of 4 bytes, serve 128 bytes at a time: all lanes' words, or half of their 8
// bytes, or a quarter of their 16; words of the same bank take turns (wavefronts).

enum { BANKS = 32, MAX_INSTRUCTIONS = 1 << 14 };

struct Instruction {
    Site site;
    uint32_t size;
    uint64_t accesses, extra_wavefronts;
};
static std::vector<Instruction> instructions;
static uint16_t instruction_numbers[MAX_INSTRUCTIONS];  // a hash table; 0 is free, others are one more than the number

struct WarpAccess {
    uint32_t lanes;
    uint32_t words[LANES_PER_WARP];
};
struct Executions {
    uint32_t of_lane[LANES_PER_WARP];
    std::vector<WarpAccess> accesses;
};
struct WarpBanks {
    std::vector<Executions> of_instruction;
    std::vector<int> touched;
};
static WarpBanks warp_banks[MAX_WARPS];

static int instruction_number(Site site, uint32_t size) {
    for (uint32_t hash = site * 2654435761u >> 18;; hash = (hash + 1) % MAX_INSTRUCTIONS) {
        if (!instruction_numbers[hash]) {
            instructions.push_back({site, size, 0, 0});
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
    uint32_t words[BANKS][LANES_PER_WARP], counts[BANKS] = {}, most = 0;
    for (int lane = first; lane < end; ++lane) {
        if (!(access.lanes >> lane & 1)) continue;
        for (uint32_t word = access.words[lane]; word < access.words[lane] + width; ++word) {
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

static void count_access(Instruction& instruction, const WarpAccess& access) {
    const uint32_t width = instruction.size <= 4 ? 1 : instruction.size / 4;
    const int lanes = LANES_PER_WARP / (int)width;
    ++instruction.accesses;
    for (int first = 0; first < LANES_PER_WARP; first += lanes) {
        const uint32_t most = wavefronts(access, first, first + lanes, width);
        if (most > 1) instruction.extra_wavefronts += most - 1;
    }
}

static void record_banks(Site site, uint32_t byte, uint32_t size) {
    const int number = instruction_number(site, size), lane = current->thread % LANES_PER_WARP;
    WarpBanks& warp = warp_banks[current->thread / LANES_PER_WARP];
    if ((size_t)number >= warp.of_instruction.size()) warp.of_instruction.resize(number + 1);
    Executions& executions = warp.of_instruction[number];
    const uint32_t n = executions.of_lane[lane]++;
    if (n >= executions.accesses.size()) {
        if (n == 0) warp.touched.push_back(number);
        executions.accesses.push_back({});
    }
    WarpAccess& access = executions.accesses[n];
    access.lanes |= 1u << lane;
    access.words[lane] = byte / 4;
}

// The warp's lanes have come together.
static void count_banks(int warp_number) {
    WarpBanks& warp = warp_banks[warp_number];
    for (int number : warp.touched) {
        Executions& executions = warp.of_instruction[number];
        for (const WarpAccess& access : executions.accesses) count_access(instructions[number], access);
        executions.accesses.clear();
        memset(executions.of_lane, 0, sizeof executions.of_lane);
    }
    warp.touched.clear();
}

static void forget_banks() {
    for (WarpBanks& warp : warp_banks) warp.of_instruction.clear(), warp.touched.clear();
}
