// Cross-entropy of softmax(potentials), mean over the batch, with its gradient, for both targets: a row's classes are
// shared out to a team, one thread on a CPU, a warp on a GPU. Called by reductions.cpp and by
// cooperative/reductions/cross_entropy_rows.cu.

struct Largest {
    float value;
    int place;
};

// The first one wins a tie, and NaN gives way to a number, so that it does not matter who compares with whom.
DEVICE bool is_larger(const Largest& one, const Largest& other) {
    if (one.value == other.value) return one.place < other.place;
    return one.value > other.value || (other.value != other.value && one.value == one.value);
}

// The loss of a label that is no class does not exist, nor does that of a batch whose inputs are none: NaN as its gradient
// has the optimiser leave the step out.
DEVICE float no_number() { return sqrtf(-1.0f); }

// m: a row's potentials; g: their gradient; *correct is -1 for a label that is no class. Team: the `lanes` threads of a
// row, and what they add up or find together.
template <typename Team>
DEVICE void cross_entropy_row(const float* __restrict__ m, int label, float* __restrict__ g, float* __restrict__ loss,
                              int* __restrict__ correct, bool is_refused, int rows, int classes) {
    const bool is_class = label >= 0 && label < classes;
    if (is_refused || !is_class) {
        for (int k = Team::lane(); k < classes; k += Team::lanes) g[k] = no_number();
        if (Team::lane() == 0) {
            *loss = no_number();
            *correct = is_class ? 0 : -1;
        }
        return;
    }
    Largest best = {m[0], 0};
    for (int k = Team::lane(); k < classes; k += Team::lanes) {
        const Largest next = {m[k], k};
        if (is_larger(next, best)) best = next;
    }
    best = Team::largest(best);
    float others = 0.0f, own = 0.0f;
    for (int k = Team::lane(); k < classes; k += Team::lanes) {
        const float power = expf(m[k] - best.value);
        g[k] = power;
        others += k == label ? 0.0f : power;
        own += k == label ? power : 0.0f;
    }
    others = Team::sum(others);
    own = Team::sum(own);
    const float sum = others + own;
    // p - 1 of the label as the sum of the other p: a confident answer's gradient would cancel to nothing but rounding
    for (int k = Team::lane(); k < classes; k += Team::lanes) {
        const float power = g[k];
        g[k] = (k == label ? -others : power) / sum / (float)rows;
    }
    if (Team::lane() == 0) {
        *loss = best.place == label ? log1pf(others) : logf(sum) - (m[label] - best.value);
        *correct = best.place == label;
    }
}

// What a batch adds to the totals, {sum of losses, correct predictions, images}: nothing if it is refused. no_class: how
// many of its labels are none, which is told by the second mark.
DEVICE void add_batch(double loss, long long correct, long long no_class, int rows, int* __restrict__ marks,
                      double* __restrict__ totals) {
    if (no_class) marks[1] |= LABELS_OUTSIDE;
    if (no_class || marks[0] != 0) return;
    totals[0] += loss;
    totals[1] += (double)correct;
    totals[2] += (double)rows;
}
