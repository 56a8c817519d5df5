// Shared by both targets, after cuda.h or cpu.h.

// Written as comparisons because these, unlike fminf and fmaxf, are one vector instruction each.
DEVICE float at_most(float value, float limit) { return value < limit ? value : limit; }
DEVICE float at_least(float value, float limit) { return value > limit ? value : limit; }
