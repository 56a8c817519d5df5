// Strips of the weights of all layers, for standardised weights on both targets (device/standardization.py).

// `columns` neighbouring neurons of a layer of `step` neurons with `rows` inputs each; their first weight is at `first`, and
// their first gain is number `gain`, or -1 where weights are trained as they are.
struct Strip {
    int first, step, rows, columns, gain;
};

DEVICE Strip strip_of(const int* __restrict__ strips, int number) {
    const int* __restrict__ const s = strips + 5 * number;
    return {s[0], s[1], s[2], s[3], s[4]};
}

// The small number keeps it finite where all raw weights of a neuron are the same.
DEVICE float inverse_norm(float squares) { return 1.0f / sqrtf(squares + 1.0e-4f); }
