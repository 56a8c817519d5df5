// Cross-entropy of softmax(potentials), mean over the batch, with its gradient; and the totals that a training log
// reads now and then. potentials, grad: (rows, classes); labels, row_loss, row_correct: (rows). Called by
// ttfs_cupy/loss.py.

KERNEL void cross_entropy(const float* __restrict__ potentials, const int* __restrict__ labels,
                          float* __restrict__ grad, float* __restrict__ row_loss, int* __restrict__ row_correct,
                          int rows, int classes) {
    GRID_LOOP(row, rows) {
        const float* __restrict__ m = potentials + (long long)row * classes;
        float* __restrict__ g = grad + (long long)row * classes;
        int best = 0;
        for (int k = 1; k < classes; ++k) best = m[k] > m[best] ? k : best;
        const int label = labels[row];
        float others = 0.0f;
        for (int k = 0; k < classes; ++k) {
            g[k] = expf(m[k] - m[best]);
            others += k == label ? 0.0f : g[k];
        }
        const float sum = others + g[label];
        for (int k = 0; k < classes; ++k) g[k] = g[k] / sum / (float)rows;
        // p - 1 as the sum of the other p: a confident answer's gradient would cancel to nothing but rounding
        g[label] = -others / sum / (float)rows;
        row_loss[row] = best == label ? log1pf(others) : logf(sum) - (m[label] - m[best]);
        row_correct[row] = best == label;
    }
}

// totals: {sum of losses, correct predictions, images}. One thread, rows in order: the same bits every time.
KERNEL void add_to_totals(const float* __restrict__ row_loss, const int* __restrict__ row_correct,
                          double* __restrict__ totals, int rows) {
    GRID_LOOP(only, 1) {
        double loss = 0.0;
        long long correct = 0;
        for (int row = 0; row < rows; ++row) {
            loss += row_loss[row];
            correct += row_correct[row];
        }
        totals[0] += loss;
        totals[1] += (double)correct;
        totals[2] += (double)rows;
    }
}

// Adds the number of spikes in each of `parts` contiguous shares of an array to counts[part].
KERNEL void count_spikes(const float* __restrict__ earliness, long long* __restrict__ counts, int parts, int n) {
    GRID_LOOP(part, parts) {
        const int first = (int)((long long)n * part / parts), last = (int)((long long)n * (part + 1) / parts);
        int spikes = 0;
        for (int i = first; i < last; ++i) spikes += earliness[i] != 0.0f;
        counts[part] += spikes;
    }
}
