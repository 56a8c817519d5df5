// Forward's products by warps of their own, on any tensor cores. After spiking_inputs.h.

#if !GROUPS

struct SpikingOperand : SpikingInputs {
    static constexpr int IN_FLIGHT = 0;
    Sums drive, sum, all_drive, all_sum;

    DEVICE_MEMBER void clear() {
        clear_sums(drive);
        clear_sums(sum);
        clear_sums(all_drive);
        clear_sums(all_sum);
    }
    DEVICE_MEMBER static int seen_pixel(int j) { return j * 8 + lane() / 4; }
    DEVICE_MEMBER void show_weights() const {}
    DEVICE_MEMBER void multiply(const float4* halo, const unsigned (&seen)[WARP_PIXELS], const float4* weights, int) {
        unsigned first[WARP_CHANNELS][4], second[WARP_CHANNELS][4];
#pragma unroll
        for (int i = 0; i < WARP_CHANNELS; ++i) {
            load_fragment(first[i], weights + i * FRAGMENT + lane());
            if (SPLIT) load_fragment(second[i], weights + i * FRAGMENT + WARP + lane());
        }
#pragma unroll
        for (int j = 0; j < WARP_PIXELS; ++j) {
            const uint4 x = *(const uint4*)((const char*)halo + seen[j]);
            const unsigned m0 = nonzero_halves(x.x), m1 = nonzero_halves(x.y);
#pragma unroll
            for (int i = 0; i < WARP_CHANNELS; ++i) {
                if (SPLIT) {
                    multiply_halves(drive[i][j], first[i], x.z, x.w);
                    if (HAS_SUM) multiply_halves(sum[i][j], second[i], m0, m1);
                    multiply_halves(drive[i][j], second[i], x.x, x.y);
                }
                if (HAS_SUM) multiply_halves(sum[i][j], first[i], m0, m1);
                multiply_halves(drive[i][j], first[i], x.x, x.y);
            }
        }
    }
    DEVICE_MEMBER void end_stage(int) const {}
    DEVICE_MEMBER void settle() {
        move_sums(drive, all_drive);
        if (HAS_SUM) move_sums(sum, all_sum);
    }
    static constexpr int FOURS = WARP_CHANNELS * WARP_PIXELS * (1 + HAS_SUM);
    // Runs body(sums of four, number) for all sums of a lane.
    template <typename Body>
    DEVICE_MEMBER void each_four(const Body& body) {
#pragma unroll
        for (int i = 0; i < FOURS; ++i) {
            Sums& sums = i % (1 + HAS_SUM) ? all_sum : all_drive;
            body(sums[i / (1 + HAS_SUM) / WARP_PIXELS][i / (1 + HAS_SUM) % WARP_PIXELS], i);
        }
    }
    // Runs body(pixel, channel, drive, sum, lanes apart) as finish (fired.h) takes them.
    template <typename Body>
    DEVICE_MEMBER void each_end(const Block& block, const Body& body) const {
#pragma unroll
        for (int i = 0; i < WARP_CHANNELS; ++i) {
#pragma unroll
            for (int j = 0; j < WARP_PIXELS; ++j) {
                const float(&a)[4] = all_drive[i][j], (&s)[4] = all_sum[i][j];
                const float of_drive[2][2] = {{a[0], a[2]}, {a[1], a[3]}}, of_sum[2][2] = {{s[0], s[2]}, {s[1], s[3]}};
                body(lane_pixel(block, j), lane_channel(block, i), of_drive, of_sum, 1);
            }
        }
    }
};

#endif
