// Optimisers over all that is trained at once (docs/model.md, "Optimisers"); arrays of n values, the first `decayed` of which
// are weights, which decay and have limits; those after them, initial potentials and gains, do not.
// update: {apply (0 or 1), gradient scale, learning rate, first-moment and second-moment bias corrections}, in device
// memory, made by decide_update (decide_update.h). Called by engine/optimizer.py.

// The gradient as the moments get it: scaled, and with l2 times the weight where weights decay. Without l2 nothing is
// added, not even a zero, whose sign would show.
DEVICE float with_l2(float g, float w, float l2, bool decays) {
    return decays && l2 != 0.0f ? g + l2 * w : g;
}

// Decoupled decay, then weight_clip's limits.
DEVICE float settled(float w, float decay, float low, float high) {
    return at_most(at_least(w - decay * w, low), high);
}

KERNEL void adam(float* __restrict__ weights, const float* __restrict__ grad, float* __restrict__ first_moment,
                 float* __restrict__ second_moment, const float* __restrict__ update,
                 float beta1, float beta2, float eps, float weight_decay, float l2, float low, float high,
                 int decayed, int n) {
    const float scale = update[1], rate = update[2], correct_m = update[3], correct_v = update[4];
    if (update[0] == 0.0f) return;
    GRID_LOOP(i, n) {
        const float g = with_l2(scale * grad[i], weights[i], l2, i < decayed);
        const float m = beta1 * first_moment[i] + (1.0f - beta1) * g;
        const float v = beta2 * second_moment[i] + (1.0f - beta2) * g * g;
        first_moment[i] = m;
        second_moment[i] = v;
        const float w = weights[i] - rate * (m * correct_m) / (sqrtf(v * correct_v) + eps);
        weights[i] = i < decayed ? settled(w, rate * weight_decay, low, high) : w;
    }
}

KERNEL void sgd(float* __restrict__ weights, const float* __restrict__ grad, float* __restrict__ velocity,
                const float* __restrict__ update, float momentum, float weight_decay, float l2, float low,
                float high, int decayed, int n) {
    const float scale = update[1], rate = update[2];
    if (update[0] == 0.0f) return;
    GRID_LOOP(i, n) {
        const float g = with_l2(momentum * velocity[i] + scale * grad[i], weights[i], l2, i < decayed);
        velocity[i] = g;
        const float w = weights[i] - rate * g;
        weights[i] = i < decayed ? settled(w, rate * weight_decay, low, high) : w;
    }
}

// fixed_sign: a weight that crossed zero stays at zero. birth_sign: -1 or 1, the sign that it was drawn with.
KERNEL void keep_sign(float* __restrict__ weights, const signed char* __restrict__ birth_sign, int n) {
    GRID_LOOP(i, n) weights[i] = weights[i] * (float)birth_sign[i] > 0.0f ? weights[i] : 0.0f;
}
