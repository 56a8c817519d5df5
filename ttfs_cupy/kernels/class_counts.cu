// Counts an evaluation's images and right predictions by class, beside the totals of the loss. Called by engine/loss.py.

// labels, others, shares, row_correct: (rows), as cross_entropy takes and leaves them; an image counts for the class with
// the larger share. A batch that was refused, as marks or a row without a loss tell, counts nowhere. images, correct:
// (classes), which grow. A thread for each class, each of which reads every row: a few hundred numbers, the same for all.
KERNEL void count_classes(const int* __restrict__ labels, const int* __restrict__ OPTIONAL others,
                          const float* __restrict__ OPTIONAL shares, const int* __restrict__ row_correct,
                          const int* __restrict__ marks, long long* __restrict__ images,
                          long long* __restrict__ correct, int rows, int classes) {
    GRID_LOOP(k, classes) {
        int found = 0, right = 0, is_refused = marks[0] != 0;
        for (int row = 0; row < rows; ++row) {
            const int label = shares && !(shares[row] >= 0.5f) ? others[row] : labels[row];
            const int is_correct = row_correct[row];
            is_refused |= is_correct < 0;
            found += label == k;
            right += label == k && is_correct;
        }
        images[k] += is_refused ? 0 : found;
        correct[k] += is_refused ? 0 : right;
    }
}
