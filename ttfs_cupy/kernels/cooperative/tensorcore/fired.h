// How forward ends: the neurons' rule (neuron.h) on the sums of a block, and 2x2 pooling where it is joined. After copies.h.
//
// Constant: INITIAL, 1 where channels begin with a potential (docs/model.md, "Initial potential"); 0 if it is not given.

#ifndef INITIAL
#define INITIAL 0
#endif

struct Earliest {
    float earliness, weight_sum;
    int place;
};

// The larger earliness; at a tie, the first place.
DEVICE Earliest earlier(const Earliest& one, const Earliest& other) {
    const bool other_wins =
        other.earliness > one.earliness || (other.earliness == one.earliness && other.place < one.place);
    return other_wins ? other : one;
}

DEVICE Earliest of_other_lane(const Earliest& own, int lanes_apart) {
    return {__shfl_xor_sync(0xffffffffu, own.earliness, lanes_apart),
            __shfl_xor_sync(0xffffffffu, own.weight_sum, lanes_apart),
            __shfl_xor_sync(0xffffffffu, own.place, lanes_apart)};
}

struct Fired {
    float* earliness;
    float* weight_sum;
    unsigned char* winner;
    int channels;
};

DEVICE void store_fired(const Fired& to, int pixel, int channel, const Earliest (&pair)[2]) {
    store_pair(to.earliness, pixel, to.channels, channel, pair[0].earliness, pair[1].earliness);
    if (to.weight_sum) store_pair(to.weight_sum, pixel, to.channels, channel, pair[0].weight_sum, pair[1].weight_sum);
    for (int k = 0; to.winner && k < 2 && channel + k < to.channels; ++k) {
        to.winner[(long long)pixel * to.channels + channel + k] =
            (unsigned char)(pair[k].earliness > 0.0f ? pair[k].place : 255);
    }
}

// What the rule needs. drive_scale, sum_scale: of A and S, from what was multiplied. initial: each channel's potential.
struct Rule {
    float drive_scale, sum_scale, slope, t_win;
    int fires;
    const float* initial;
};

// Of two neighbouring pixels and two neighbouring channels of each, the first of which are these: A and S by pixel and
// channel. A window's other two pixels are those of the lane with the other bit `lanes_apart`.
DEVICE void finish(const Fired& to, const Rule& rule, int pixel, int pixels, int channel, const float (&drive)[2][2],
                   const float (&sum)[2][2], int lanes_apart) {
    Earliest out[2][2];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        float a = rule.drive_scale * drive[k / 2][k % 2];
        if (INITIAL && channel + k % 2 < to.channels) a += rule.t_win * rule.initial[channel + k % 2];
        const float s = HAS_SUM ? rule.sum_scale * sum[k / 2][k % 2] : 0.0f;
        const float x = rule.fires ? earliness_of<float>(a, s, rule.slope, rule.t_win) : a + rule.slope * rule.t_win * s;
        out[k / 2][k % 2] = {x, s, pixel % 4 + k / 2};
    }
    if (to.winner) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            const Earliest own = earlier(out[0][k], out[1][k]);
            out[0][k] = earlier(own, of_other_lane(own, lanes_apart));
        }
        if (channel < to.channels && pixel < pixels && pixel % 4 == 0) store_fired(to, pixel / 4, channel, out[0]);
    } else if (channel < to.channels) {
        if (pixel < pixels) store_fired(to, pixel, channel, out[0]);
        if (pixel + 1 < pixels) store_fired(to, pixel + 1, channel, out[1]);
    }
}
