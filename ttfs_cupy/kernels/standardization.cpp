// Standardised weights (docs/model.md) on a CPU, whose threads each have whole strips; a GPU's are in
// cooperative/reductions/standardized_weights.cu. Called by device/standardization.py, which says what a strip is.

// of the widest strip (CPU_COLUMNS)
#define STRIP_COLUMNS 512
#define CHUNK_ROWS 64
// floats
#define CACHE_LINE 16
#define ROWS_AHEAD 24

// Has a later row of a strip be fetched while this one is worked on: without it, it took a fifth to a half longer.
DEVICE void fetch_ahead(const Strip& s, const float* strip, int row) {
    if (row + ROWS_AHEAD >= s.rows) return;
    const float* const later = strip + (long long)(row + ROWS_AHEAD) * s.step;
    for (int c = 0; c < s.columns; c += CACHE_LINE) PREFETCH(later + c);
}

// sums[c] = term(row of raw, c) summed over all rows; in chunks, so that a sum of thousands stays as exact as one of a
// few.
template <typename Term>
DEVICE void sum_rows(const Strip& s, const float* __restrict__ raw, float* __restrict__ sums, const Term& term) {
    for (int c = 0; c < s.columns; ++c) sums[c] = 0.0f;
    for (int first = 0; first < s.rows; first += CHUNK_ROWS) {
        const int last = s.rows - first < CHUNK_ROWS ? s.rows : first + CHUNK_ROWS;
        float chunk[STRIP_COLUMNS];
        for (int c = 0; c < s.columns; ++c) chunk[c] = 0.0f;
        for (int row = first; row < last; ++row) {
            const float* __restrict__ const v = raw + (long long)row * s.step;
            fetch_ahead(s, raw, row);
            for (int c = 0; c < s.columns; ++c) chunk[c] += term(v, c);
        }
        for (int c = 0; c < s.columns; ++c) sums[c] += chunk[c];
    }
}

// Over all rows, in chunks: sums[c] of the gradient, and products[c] of it and the centred raw weights.
DEVICE void sum_gradients(const Strip& s, const float* __restrict__ raw, const float* __restrict__ grad,
                          const float* __restrict__ mean, float* __restrict__ sums, float* __restrict__ products) {
    for (int c = 0; c < s.columns; ++c) sums[c] = products[c] = 0.0f;
    for (int first = 0; first < s.rows; first += CHUNK_ROWS) {
        const int last = s.rows - first < CHUNK_ROWS ? s.rows : first + CHUNK_ROWS;
        float sum[STRIP_COLUMNS], product[STRIP_COLUMNS];
        for (int c = 0; c < s.columns; ++c) sum[c] = product[c] = 0.0f;
        for (int row = first; row < last; ++row) {
            const float* __restrict__ const v = raw + (long long)row * s.step;
            const float* __restrict__ const g = grad + (long long)row * s.step;
            fetch_ahead(s, raw, row);
            fetch_ahead(s, grad, row);
            for (int c = 0; c < s.columns; ++c) {
                sum[c] += g[c];
                product[c] += g[c] * (v[c] - mean[c]);
            }
        }
        for (int c = 0; c < s.columns; ++c) sums[c] += sum[c], products[c] += product[c];
    }
}

// trained: raw weights, and gains from gains_at on. statistics: {mean, 1 / norm} of each gain's raw weights. update:
// unless null, decide_update's: a step that was skipped leaves the weights as they are.
KERNEL void standardize_weights(const int* __restrict__ strips, const float* __restrict__ trained,
                                const float* __restrict__ OPTIONAL update, float* __restrict__ statistics,
                                float* __restrict__ weights, int gains_at, int count) {
    if (update && update[0] == 0.0f) return;
    GRID_LOOP(strip, count) {
        const Strip s = strip_of(strips, strip);
        const float* __restrict__ const raw = trained + s.first;
        float* __restrict__ const out = weights + s.first;
        float mean[STRIP_COLUMNS], scale[STRIP_COLUMNS];
        for (int c = 0; c < s.columns; ++c) mean[c] = 0.0f, scale[c] = 1.0f;
        if (s.gain >= 0) {
            sum_rows(s, raw, mean, [](const float* v, int c) { return v[c]; });
            for (int c = 0; c < s.columns; ++c) mean[c] /= s.rows;
            sum_rows(s, raw, scale, [&](const float* v, int c) { return (v[c] - mean[c]) * (v[c] - mean[c]); });
            for (int c = 0; c < s.columns; ++c) {
                const float inverse = inverse_norm(scale[c]);
                statistics[2 * (s.gain + c)] = mean[c];
                statistics[2 * (s.gain + c) + 1] = inverse;
                scale[c] = trained[gains_at + s.gain + c] * inverse;
            }
        }
        for (int row = 0; row < s.rows; ++row) {
            const long long at = (long long)row * s.step;
            fetch_ahead(s, out, row);
            for (int c = 0; c < s.columns; ++c) out[at + c] = scale[c] * (raw[at + c] - mean[c]);
        }
    }
}

// From dLoss/d(weights) to dLoss/d(trained), by the statistics of standardize_weights.
KERNEL void standardized_gradients(const int* __restrict__ strips, const float* __restrict__ trained,
                                   const float* __restrict__ statistics, const float* __restrict__ grad_weights,
                                   float* __restrict__ grad_trained, int gains_at, int count) {
    GRID_LOOP(strip, count) {
        const Strip s = strip_of(strips, strip);
        const float* __restrict__ const raw = trained + s.first;
        const float* __restrict__ const grad = grad_weights + s.first;
        float* __restrict__ const out = grad_trained + s.first;
        if (s.gain < 0) {
            for (int row = 0; row < s.rows; ++row) {
                const long long at = (long long)row * s.step;
                for (int c = 0; c < s.columns; ++c) out[at + c] = grad[at + c];
            }
            continue;
        }
        float mean[STRIP_COLUMNS], inverse[STRIP_COLUMNS], scale[STRIP_COLUMNS];
        float mean_grad[STRIP_COLUMNS], grad_gain[STRIP_COLUMNS];
        for (int c = 0; c < s.columns; ++c) {
            mean[c] = statistics[2 * (s.gain + c)];
            inverse[c] = statistics[2 * (s.gain + c) + 1];
            scale[c] = trained[gains_at + s.gain + c] * inverse[c];
        }
        sum_gradients(s, raw, grad, mean, mean_grad, grad_gain);
        for (int c = 0; c < s.columns; ++c) mean_grad[c] /= s.rows, grad_gain[c] *= inverse[c];
        for (int c = 0; c < s.columns; ++c) grad_trained[gains_at + s.gain + c] = grad_gain[c];
        for (int row = 0; row < s.rows; ++row) {
            const long long at = (long long)row * s.step;
            fetch_ahead(s, out, row);
            for (int c = 0; c < s.columns; ++c) {
                const float unit = (raw[at + c] - mean[c]) * inverse[c];
                out[at + c] = scale[c] * (grad[at + c] - mean_grad[c] - unit * grad_gain[c]);
            }
        }
    }
}
