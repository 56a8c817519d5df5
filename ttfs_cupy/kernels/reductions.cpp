// Sums over many values on a CPU, whose threads each have a contiguous share; a GPU's are in cooperative/reductions/.
// Called by device/reductions.py.

// Squares of the gradient, summed over each of `parts` contiguous shares; eight running sums make it vectorisable and
// keep the order fixed.
KERNEL void sum_squares(const float* __restrict__ grad, float* __restrict__ sums, int parts, int n) {
    GRID_LOOP(part, parts) {
        const int first = part_start(n, part, parts), last = part_start(n, part + 1, parts);
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

// Decides about the step by the sums of sum_squares (decide_update.h).
KERNEL void prepare_update(const float* __restrict__ sums, const float* __restrict__ learning_rate,
                           float* __restrict__ update, long long* __restrict__ counts, float clip_norm, float beta1,
                           float beta2, int parts) {
    GRID_LOOP(only, 1) {
        double squares = 0.0;
        for (int part = 0; part < parts; ++part) squares += sums[part];
        decide_update(squares, *learning_rate, update, counts, clip_norm, beta1, beta2);
    }
}

struct Alone {
    static constexpr int lanes = 1;
    DEVICE int lane() { return 0; }
    DEVICE Largest largest(Largest own) { return own; }
    DEVICE float sum(float own) { return own; }
};

// potentials, grad: (rows, classes); labels, others, shares, row_loss, row_correct: (rows). others and shares: of images
// that were mixed, the other one's label and the share of the first, or null. weights: of the classes, or null. marks:
// engine/validity.py's; where the first is set, there is no loss. images: of the batch that the rows are of.
KERNEL void cross_entropy(const float* __restrict__ potentials, const int* __restrict__ labels,
                          const int* __restrict__ OPTIONAL others, const float* __restrict__ OPTIONAL shares,
                          float smoothing, const float* __restrict__ OPTIONAL weights, const int* __restrict__ marks,
                          float* __restrict__ grad, float* __restrict__ row_loss, int* __restrict__ row_correct,
                          int rows, int images, int classes) {
    const bool is_refused = marks[0] != 0;
    GRID_LOOP(row, rows) {
        const long long first = (long long)row * classes;
        const Target target = target_of(row, labels, others, shares, smoothing);
        cross_entropy_row<Alone>(potentials + first, target, weights, grad + first, row_loss + row, row_correct + row,
                                 is_refused, images, classes);
    }
}

// totals: add_batch's (cross_entropy.h), which a batch that was refused leaves as they are. One thread, rows in order: the
// same bits every time.
KERNEL void add_to_totals(const float* __restrict__ row_loss, const int* __restrict__ row_correct,
                          int* __restrict__ marks, double* __restrict__ totals, int rows) {
    GRID_LOOP(only, 1) {
        double loss = 0.0;
        long long correct = 0;
        Troubles troubles = {0, 0};
        for (int row = 0; row < rows; ++row) {
            loss += row_loss[row];
            correct += row_correct[row];
            troubles.no_class += row_correct[row] == NO_CLASS;
            troubles.no_share += row_correct[row] == NO_SHARE;
        }
        add_batch(loss, correct, troubles, rows, marks, totals);
    }
}

// counts: (parts, 2). Adds the number of spikes in each of `parts` contiguous shares of an array, and how many of them come
// as their window, of length t_win, opens.
KERNEL void count_spikes(const float* __restrict__ earliness, long long* __restrict__ counts, float t_win, int parts,
                         int n) {
    GRID_LOOP(part, parts) {
        const int first = part_start(n, part, parts), last = part_start(n, part + 1, parts);
        int spikes = 0, at_once = 0;
        for (int i = first; i < last; ++i) {
            spikes += earliness[i] != 0.0f;
            at_once += earliness[i] >= t_win;
        }
        counts[2 * part] += spikes;
        counts[2 * part + 1] += at_once;
    }
}

// spiked[pixel] = 1 where any channel of the pixel is not silent, else 0.
KERNEL void find_spikes(const float* __restrict__ images, float* __restrict__ spiked, int pixels, int channels) {
    GRID_LOOP(pixel, pixels) {
        const float* __restrict__ values = images + (long long)pixel * channels;
        int spikes = 0;
        for (int c = 0; c < channels; ++c) spikes += values[c] != 0.0f;
        spiked[pixel] = spikes > 0 ? 1.0f : 0.0f;
    }
}
