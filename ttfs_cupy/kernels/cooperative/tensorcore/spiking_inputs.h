// What forward multiplies: earliness as halves, formed once for all taps, and its mask; weights from pack_weights.cu.
// After implicit_gemm.h.
//
// A half has 11 significant bits, as TF32 has, at twice TF32's rate. With SPLIT, x and w are each the sum of two halves,
// x = xh + xl and w = wh + wl, 22 bits: A = xl wh + xh wl + xh wh, and, the mask being exact, S = m wl + m wh. Both are
// scaled by powers of two, so that neither half of a usual x or w is subnormal. Without SPLIT the second halves are dropped.
//
// Tensor cores truncate as they add (Fasi et al., 2021), which over thousands of terms would cost more than the split
// gains: so sums are kept short, and added up by ordinary arithmetic (Ootomo and Yokota, 2022).
//
// Constants: HAS_SUM, 0 where psp_slope is 0 and S not needed; SPLIT.

// As to_halves, but what is not 0 does not become 0: the mask is told by it.
DEVICE unsigned to_spiking_halves(float low, float high) {
    unsigned halves = to_halves(low, high);
    if (!(halves & 0x00007fffu) && low != 0.0f) halves |= 0x00000001u;
    if (!(halves & 0x7fff0000u) && high != 0.0f) halves |= 0x00010000u;
    return halves;
}

struct SpikingInputs {
    const float *images, *weights;
    int channels, taps;
    int first_fragment, fragments;  // of 16 output channels: the block's first, and all
    float unit;  // what an earliness of 1 is multiplied as

    DEVICE_MEMBER void copy(int piece, int offset, int channel, float4* halo) const {
        copy_channels(halo + piece, images, offset, channel, channels);
    }
    // 4 values become their 4 first halves and their 4 second halves.
    DEVICE_MEMBER void convert(int piece, int, float4* halo) const {
        const float4 x = halo[piece];
        const float4 v = make_float4(in_range(unit, x.x), in_range(unit, x.y), in_range(unit, x.z), in_range(unit, x.w));
        uint4 halves;
        halves.x = to_spiking_halves(v.x, v.y);
        halves.y = to_spiking_halves(v.z, v.w);
        halves.z = to_halves(v.x - low_half(halves.x), v.y - high_half(halves.x));
        halves.w = to_halves(v.z - low_half(halves.y), v.w - high_half(halves.y));
        ((uint4*)halo)[piece] = halves;
    }
    DEVICE_MEMBER void copy_weights(float4* slot, int chunk, int first_tap, int count) const {
        const float* const from = weights + ((chunk * taps + first_tap) * fragments + first_fragment) * (FRAGMENT * 4);
        each_weight_piece([&](int piece, int tap, int of_tap) {
            const bool there = tap < count && (WHOLE || first_fragment + of_tap / FRAGMENT < fragments);
            copy_async(slot + piece, from + (there ? (tap * fragments * FRAGMENT + of_tap) * 4 : 0), there);
        });
    }
};
