// Numbers as tensor cores multiply them. What is not finite stays so: a gradient that is lost on its way would be a step that
// is taken although it should be skipped.

#define LARGEST_HALF 65504.0f

// unit times a value; what is then beyond a half's range counts as its end, but for infinity and NaN.
DEVICE float in_range(float unit, float value) {
    const float within = at_most(at_least(unit * value, -LARGEST_HALF), LARGEST_HALF);
    return fabsf(value) <= 3.402823466e38f ? within : value;
}

// Of four bytes, those that are not `byte`: 0 where one is.
DEVICE unsigned differing_bytes(unsigned bytes, unsigned byte) { return bytes ^ byte * 0x01010101u; }

// As to_tf32, in the bits that a tensor core reads: it ignores all but 11 significant ones. Infinity and NaN stay what they
// are: half a unit more would turn NVIDIA's NaN, 0x7fffffff, into -0.
DEVICE unsigned round_to_tf32(float value) {
    const unsigned bits = __float_as_uint(value);
    return fabsf(value) <= 3.402823466e38f ? bits + 0x1000u : bits;
}

// Nearly the same in one instruction, for main loops, which round often: instead of half a unit, 2^-11.5 of
// the value is added, which is 0.35 to 0.71 units. So what 11 bits hold is exact, the error is at most 0.71 units and 0 on
// average, and infinity and NaN stay what they are.
DEVICE unsigned round_to_tf32_at_once(float value) { return __float_as_uint(value * (1.0f + 0x1.6a09e6p-12f)); }
