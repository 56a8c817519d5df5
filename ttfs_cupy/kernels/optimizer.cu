// Optimisers over all weights of a network at once (SPEC "Optimisers"); arrays of n values, one per weight.
// update: {apply (0 or 1), gradient scale, learning rate, first-moment and second-moment bias corrections}, in device
// memory, made by prepare_update. Called by ttfs_cupy/optimizer.py.

// Squares of the gradient, summed over each of `parts` contiguous shares; eight running sums make it vectorisable and
// keep the order fixed.
KERNEL void sum_squares(const float* __restrict__ grad, float* __restrict__ sums, int parts, int n) {
    GRID_LOOP(part, parts) {
        const int first = (int)((long long)n * part / parts), last = (int)((long long)n * (part + 1) / parts);
        float lanes[8] = {0.0f};
        int i = first;
        for (; i + 8 <= last; i += 8) {
            for (int lane = 0; lane < 8; ++lane) lanes[lane] += grad[i + lane] * grad[i + lane];
        }
        for (int lane = 0; i < last; ++i, ++lane) lanes[lane] += grad[i] * grad[i];
        float sum = 0.0f;
        for (int lane = 0; lane < 8; ++lane) sum += lanes[lane];
        sums[part] = sum;
    }
}

// Decides about the step: a gradient that is not finite is skipped (the weights stay as they are), one longer than
// clip_norm is scaled to it. counts: {applied, skipped, clipped} steps.
KERNEL void prepare_update(const float* __restrict__ sums, const float* __restrict__ learning_rate,
                           float* __restrict__ update, long long* __restrict__ counts, float clip_norm, float beta1,
                           float beta2, int parts) {
    GRID_LOOP(only, 1) {
        double squares = 0.0;
        for (int part = 0; part < parts; ++part) squares += sums[part];
        const double norm = sqrt(squares);
        const bool finite = norm < 3.0e38;
        const bool clipped = finite && norm > clip_norm;
        counts[0] += finite;
        counts[1] += !finite;
        counts[2] += clipped;
        update[0] = finite ? 1.0f : 0.0f;
        update[1] = clipped ? (float)(clip_norm / norm) : 1.0f;
        update[2] = *learning_rate;
        const double steps = (double)counts[0];
        update[3] = (float)(1.0 / (1.0 - pow((double)beta1, steps)));
        update[4] = (float)(1.0 / (1.0 - pow((double)beta2, steps)));
    }
}

// Decoupled decay, then weight_clip's limits.
DEVICE float settled(float w, float decay, float low, float high) {
    return at_most(at_least(w - decay * w, low), high);
}

KERNEL void adam(float* __restrict__ weights, const float* __restrict__ grad, float* __restrict__ first_moment,
                 float* __restrict__ second_moment, const float* __restrict__ update,
                 float beta1, float beta2, float eps, float weight_decay, float low, float high, int n) {
    const float scale = update[1], rate = update[2], correct_m = update[3], correct_v = update[4];
    if (update[0] == 0.0f) return;
    GRID_LOOP(i, n) {
        const float g = scale * grad[i];
        const float m = beta1 * first_moment[i] + (1.0f - beta1) * g;
        const float v = beta2 * second_moment[i] + (1.0f - beta2) * g * g;
        first_moment[i] = m;
        second_moment[i] = v;
        const float w = weights[i] - rate * (m * correct_m) / (sqrtf(v * correct_v) + eps);
        weights[i] = settled(w, rate * weight_decay, low, high);
    }
}

KERNEL void sgd(float* __restrict__ weights, const float* __restrict__ grad, float* __restrict__ velocity,
                const float* __restrict__ update, float momentum, float weight_decay, float low, float high, int n) {
    const float scale = update[1], rate = update[2];
    if (update[0] == 0.0f) return;
    GRID_LOOP(i, n) {
        const float g = momentum * velocity[i] + scale * grad[i];
        velocity[i] = g;
        weights[i] = settled(weights[i] - rate * g, rate * weight_decay, low, high);
    }
}

// fixed_sign: a weight that crossed zero stays at zero. birth_sign: -1 or 1, the sign that it was drawn with.
KERNEL void keep_sign(float* __restrict__ weights, const signed char* __restrict__ birth_sign, int n) {
    GRID_LOOP(i, n) weights[i] = weights[i] * (float)birth_sign[i] > 0.0f ? weights[i] : 0.0f;
}
