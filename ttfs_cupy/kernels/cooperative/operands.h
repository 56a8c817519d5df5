// Numbers as tensor cores multiply them.

#define LARGEST_HALF 65504.0f

// What is beyond a half's range counts as its end.
DEVICE float in_range(float value) { return at_most(at_least(value, -LARGEST_HALF), LARGEST_HALF); }

// Of four bytes, those that are not `byte`: 0 where one is.
DEVICE unsigned differing_bytes(unsigned bytes, unsigned byte) { return bytes ^ byte * 0x01010101u; }

// As to_tf32, in the bits that a tensor core reads: it ignores the others.
DEVICE unsigned round_to_tf32(float value) { return __float_as_uint(value) + 0x1000u; }
