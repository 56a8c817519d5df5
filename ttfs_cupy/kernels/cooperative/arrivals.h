// How blocks add up their sums, in an order that does not depend on who comes when. After last_block.h and
// whatever defines THREADS.
//
// Constant: FAN, of how many blocks the last to come adds what they wrote.

// Which of `tiles` a block works at, and which of its `ranges` it sums.
struct Share {
    int tile, tiles, range, ranges;
};

DEVICE Share share_of(int ranges) {
    const int tiles = gridDim.x / ranges;
    return {(int)blockIdx.x % tiles, tiles, (int)blockIdx.x / tiles, ranges};
}

// Whether this block is the last one to come of all ranges of its tile; its sums are then those of all of them. Summed has a
// thread's sums: FOURS of four, for which each_four(body) runs body(sums of four, number). parts: the sums of the ranges,
// then those of each FAN of them, and so on; arrived: as many counters, all 0, and so again; both for each tile.
template <typename Summed>
DEVICE bool add_ranges(Summed& sums, float4* parts, int* arrived, const Share& share) {
    const long long part_size = Summed::FOURS * THREADS;
    int range = share.range, ranges = share.ranges;
    while (ranges > 1) {
        float4* const own = parts + (range * share.tiles + share.tile) * part_size + threadIdx.x;
        sums.each_four([&](const float(&four)[4], int i) {
            own[i * THREADS] = make_float4(four[0], four[1], four[2], four[3]);
        });
        const int parents = (ranges + FAN - 1) / FAN, parent = range / FAN, first = parent * FAN;
        const int count = min(ranges - first, FAN);
        if (!arrives_last(arrived + parent * share.tiles + share.tile, count)) return false;
        sums.each_four([&](float(&four)[4], int) { four[0] = four[1] = four[2] = four[3] = 0.0f; });
        for (int part = first; part < first + count; ++part) {
            const float4* const from = parts + (part * share.tiles + share.tile) * part_size + threadIdx.x;
            sums.each_four([&](float(&four)[4], int i) {
                const float4 more = __ldcg(from + i * THREADS);
                four[0] += more.x, four[1] += more.y, four[2] += more.z, four[3] += more.w;
            });
        }
        parts += ranges * share.tiles * part_size;
        arrived += parents * share.tiles;
        range = parent;
        ranges = parents;
    }
    return true;
}
