// Weights that follow those in training (docs/model.md, "Optimisers"), and gradients of several batches as one; arrays
// of n values, one per weight. Called by engine/average.py and engine/accumulation.py.

// A step after a step was taken. update, counts: what decide_update (decide_update.h) made of it. A young average has
// the weights of about a tenth of the steps so far, of the first step alone at first: where training began is forgotten.
// least: the share of new weights later on.
KERNEL void follow(float* __restrict__ average, const float* __restrict__ weights, const float* __restrict__ update,
                   const long long* __restrict__ counts, float least, int n) {
    const float share = at_least(10.0f / (float)(counts[0] + 9), least);
    if (update[0] == 0.0f) return;
    GRID_LOOP(i, n) average[i] += share * (weights[i] - average[i]);
}

KERNEL void exchange(float* __restrict__ one, float* __restrict__ other, int n) {
    GRID_LOOP(i, n) {
        const float kept = one[i];
        one[i] = other[i];
        other[i] = kept;
    }
}

// A batch's mean gradient joins those of its group, by the batch's images. The first one finds nothing: what lies in
// sums is a group's that is over, and may be NaN.
KERNEL void add_gradients(float* __restrict__ sums, const float* __restrict__ grad, float images, int is_first, int n) {
    GRID_LOOP(i, n) sums[i] = (is_first ? 0.0f : sums[i]) + images * grad[i];
}

// images: of the whole group.
KERNEL void mean_gradients(const float* __restrict__ sums, float* __restrict__ grad, float images, int n) {
    GRID_LOOP(i, n) grad[i] = sums[i] / images;
}
