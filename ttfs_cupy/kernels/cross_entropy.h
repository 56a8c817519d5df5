// Cross-entropy of softmax(potentials), weighted by class, mean over the batch, with its gradient, for both targets: a
// row's classes are shared out to a team, one thread on a CPU, a warp on a GPU. The batch may have more images than there
// are rows: those of other ranks. Called by reductions.cpp and by cooperative/reductions/cross_entropy_rows.cu.

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

// What a row is to answer: the class `first` for `share` of it and `second` for the rest, and of all that `smoothing`
// evenly to every class.
struct Target {
    int first, second;
    float share, smoothing;
};

// What row_correct says of a row without a loss, beside 0 and 1 of one that has it.
#define NO_CLASS -1
#define NO_SHARE -2

// others and shares: null where the labels are all there is.
DEVICE Target target_of(int row, const int* __restrict__ labels, const int* __restrict__ others,
                        const float* __restrict__ shares, float smoothing) {
    const int label = labels[row];
    if (!others) return {label, label, 1.0f, smoothing};
    return {label, others[row], shares[row], smoothing};
}

// 0, or why such a target is none.
DEVICE int trouble_of(const Target& target, int classes) {
    const bool are_classes = target.first >= 0 && target.first < classes && target.second >= 0 && target.second < classes;
    if (!are_classes) return NO_CLASS;
    return target.share >= 0.0f && target.share <= 1.0f ? 0 : NO_SHARE;
}

// Whether it is one class after all, smoothing aside: `label`, the one with the larger share.
DEVICE bool is_one_class(const Target& target) {
    return target.first == target.second || target.share == 1.0f || target.share == 0.0f;
}
DEVICE int label_of(const Target& target) { return target.share >= 0.5f ? target.first : target.second; }

// By what a row's loss is multiplied: its class's weight; of two classes theirs by their shares. weights: by class, or
// null, which is 1 for all.
DEVICE float weight_of(const Target& target, const float* __restrict__ weights) {
    if (!weights) return 1.0f;
    if (is_one_class(target)) return weights[label_of(target)];
    return target.share * weights[target.first] + (1.0f - target.share) * weights[target.second];
}

// One class alone. g holds the exponentials of the potentials, less the largest.
template <typename Team>
DEVICE void hard_row(const float* __restrict__ m, int label, float weight, const Largest& best, float* __restrict__ g,
                     float* __restrict__ loss, int images, int classes) {
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
        g[k] = weight * ((k == label ? -others : power) / sum / (float)images);
    }
    if (Team::lane() == 0) *loss = weight * (best.place == label ? log1pf(others) : logf(sum) - (m[label] - best.value));
}

// Several classes.
template <typename Team>
DEVICE void soft_row(const float* __restrict__ m, const Target& target, float weight, const Largest& best,
                     float* __restrict__ g, float* __restrict__ loss, int images, int classes) {
    float others = 0.0f, distances = 0.0f;
    for (int k = Team::lane(); k < classes; k += Team::lanes) {
        const float below = m[k] - best.value, power = expf(below);
        g[k] = power;
        others += k == best.place ? 0.0f : power;
        distances -= below;
    }
    others = Team::sum(others);
    distances = Team::sum(distances);
    // of the largest 1, but not of one that is not finite
    const float of_power = reciprocal(others + expf(best.value - best.value)), of_image = reciprocal((float)images);
    const float everywhere = target.smoothing * reciprocal((float)classes);
    const float of_first = (1.0f - target.smoothing) * target.share;
    const float of_second = (1.0f - target.smoothing) * (1.0f - target.share);
    for (int k = Team::lane(); k < classes; k += Team::lanes) {
        const float own = (k == target.first ? of_first : 0.0f) + (k == target.second ? of_second : 0.0f);
        g[k] = weight * ((g[k] * of_power - (everywhere + own)) * of_image);
    }
    if (Team::lane() == 0) {
        // a class that is not wanted may be impossible
        float far = everywhere != 0.0f ? everywhere * distances : 0.0f;
        if (of_first != 0.0f) far += of_first * (best.value - m[target.first]);
        if (of_second != 0.0f) far += of_second * (best.value - m[target.second]);
        *loss = weight * (log1pf(others) + far);
    }
}

// m: a row's potentials; weights: of the classes, or null; g: the potentials' gradient; *correct: whether the largest is
// that of the class with the larger share. images: of which the gradient is the mean.
// Team: the `lanes` threads of a row, and what they add up or find together.
template <typename Team>
DEVICE void cross_entropy_row(const float* __restrict__ m, const Target& target, const float* __restrict__ weights,
                              float* __restrict__ g, float* __restrict__ loss, int* __restrict__ correct,
                              bool is_refused, int images, int classes) {
    const int trouble = trouble_of(target, classes);
    if (is_refused || trouble) {
        for (int k = Team::lane(); k < classes; k += Team::lanes) g[k] = no_number();
        if (Team::lane() == 0) {
            *loss = no_number();
            *correct = trouble;
        }
        return;
    }
    Largest best = {m[0], 0};
    for (int k = Team::lane(); k < classes; k += Team::lanes) {
        const Largest next = {m[k], k};
        if (is_larger(next, best)) best = next;
    }
    best = Team::largest(best);
    const int label = label_of(target);
    const float weight = weight_of(target, weights);
    if (is_one_class(target) && target.smoothing == 0.0f) {
        hard_row<Team>(m, label, weight, best, g, loss, images, classes);
    } else {
        soft_row<Team>(m, target, weight, best, g, loss, images, classes);
    }
    if (Team::lane() == 0) *correct = best.place == label;
}

// Of rows without a loss, by why.
struct Troubles {
    int no_class, no_share;
};

// What a batch adds to the totals: nothing if it is refused. Why is told by the second mark. totals: {sum of losses, correct
// predictions, images} of batches whose loss is finite, {correct predictions, images, batches} of all others.
DEVICE void add_batch(double loss, long long correct, const Troubles& troubles, int rows, int* __restrict__ marks,
                      double* __restrict__ totals) {
    if (troubles.no_class) marks[1] |= LABELS_OUTSIDE;
    if (troubles.no_share) marks[1] |= SHARES_OUTSIDE;
    if (troubles.no_class || troubles.no_share || marks[0] != 0) return;
    // no loss is below 0, and NaN is not below anything
    if (loss < 1.0e300) {
        totals[0] += loss;
        totals[1] += (double)correct;
        totals[2] += (double)rows;
    } else {
        totals[3] += (double)correct;
        totals[4] += (double)rows;
        totals[5] += 1.0;
    }
}
