// Forward's products by warpgroups, on compute capability 9.0: a warp has 16 pixels of 64 and 64 channels. Pixels are the
// left factor, so that the mask is formed in registers here, too, and the halo may lie as it does; weights are read from
// shared memory. After spiking_inputs.h and warpgroup.h.

#if GROUPS

static_assert(WARP_CHANNELS == 4 && WARP_PIXELS == 2 && WARPS_ACROSS % 4 == 0, "a warpgroup has 64 channels and 64 pixels");

typedef float GroupSums[GROUP_SUMS];

DEVICE void move_sums(const GroupSums& from, GroupSums& to) {
#pragma unroll
    for (int i = 0; i < GROUP_SUMS; ++i) to[i] += from[i];
}

// A tap's products run while the next one's pixels are loaded. What they read is not overwritten earlier: IN_FLIGHT.
struct SpikingOperand : SpikingInputs {
    static constexpr int IN_FLIGHT = 1;
    GroupSums drive, sum, all_drive, all_sum;
    bool is_first;  // no product is in the short sums yet
    // Of each of a stage's taps the first and second halves and the mask of a lane's pixels: what products in flight read is
    // not loaded anew.
    unsigned left[TAPS][3][4];

    DEVICE_MEMBER void clear() {
#pragma unroll
        for (int i = 0; i < GROUP_SUMS; ++i) drive[i] = sum[i] = all_drive[i] = all_sum[i] = 0.0f;
        is_first = true;
    }
    // A lane's two rows of a product are neighbouring pixels; in every other lane the later one comes first, or lanes that
    // read together would meet in a bank.
    DEVICE_MEMBER static bool is_swapped() { return lane() / 4 % 2; }
    DEVICE_MEMBER static int seen_pixel(int j) { return lane() / 4 * 2 + (is_swapped() ? 1 - j : j); }
    DEVICE_MEMBER void show_weights() const { show_products(); }
    DEVICE_MEMBER void multiply(const float4* halo, const unsigned (&seen)[WARP_PIXELS], const float4* weights, int number) {
        unsigned(&high)[4] = left[number][0], (&low)[4] = left[number][1], (&mask)[4] = left[number][2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const uint4 x = *(const uint4*)((const char*)halo + seen[j]);
            high[j] = x.x, high[j + 2] = x.y, low[j] = x.z, low[j + 2] = x.w;
            mask[j] = nonzero_halves(x.x), mask[j + 2] = nonzero_halves(x.y);
        }
        const unsigned long long first = right_factor(weights, 128, 512), second = right_factor(weights + 16, 128, 512);
        begin_products();
        if (SPLIT) {
            multiply_group(drive, low, first, is_first);
            if (HAS_SUM) multiply_group(sum, mask, second, is_first);
            multiply_group(drive, high, second, false);
        }
        if (HAS_SUM) multiply_group(sum, mask, first, !SPLIT && is_first);
        multiply_group(drive, high, first, !SPLIT && is_first);
        end_product_group();
        await_product_groups<1>();
        is_first = false;
    }
    // Where this was the stage's only tap, its last is also the next one's first.
    DEVICE_MEMBER void end_stage(int count) const {
        if (TAPS == 1 || (!ROWS && count == 1)) await_product_groups<0>();
    }
    DEVICE_MEMBER void settle() {
        await_product_groups<0>();
        if (is_first) return;
        move_sums(drive, all_drive);
        if (HAS_SUM) move_sums(sum, all_sum);
        is_first = true;
    }
    static constexpr int FOURS = GROUP_SUMS / 4 * (1 + HAS_SUM);
    // Runs body(sums of four, number) for all sums of a lane.
    template <typename Body>
    DEVICE_MEMBER void each_four(const Body& body) {
#pragma unroll
        for (int i = 0; i < FOURS; ++i) {
            float* const sums = (i % (1 + HAS_SUM) ? all_sum : all_drive) + i / (1 + HAS_SUM) * 4;
            float four[4] = {sums[0], sums[1], sums[2], sums[3]};
            body(four, i);
            sums[0] = four[0], sums[1] = four[1], sums[2] = four[2], sums[3] = four[3];
        }
    }
    // Runs body(pixel, channel, drive, sum, lanes apart) as finish (fired.h) takes them.
    template <typename Body>
    DEVICE_MEMBER void each_end(const Block& block, const Body& body) const {
        const int pixel = block.first_pixel + block.warp_pixel + lane() / 4 * 2;
#pragma unroll
        for (int i = 0; i < GROUP_SUMS; i += 4) {
            const int channel = block.first_channel + block.warp_channel + i * 2 + lane() % 4 * 2;
            float of_drive[2][2], of_sum[2][2];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int row = k / 2, other = 2 - k / 2 * 2 + k % 2;
                of_drive[row][k % 2] = is_swapped() ? all_drive[i + other] : all_drive[i + k];
                of_sum[row][k % 2] = is_swapped() ? all_sum[i + other] : all_sum[i + k];
            }
            body(pixel, channel, of_drive, of_sum, 4);
        }
    }
};

#endif
