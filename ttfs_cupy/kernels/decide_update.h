// What becomes of a step (docs/model.md, "Optimisers"), for both targets. Called by reductions.cpp and by
// cooperative/reductions/prepare_update.cu.

// squares: of the whole gradient, summed. A gradient that is not finite is skipped (the weights stay as they are), one longer
// than clip_norm is scaled to it. update: as optimizer.cu takes it; counts: {applied, skipped, clipped} steps, and skipped ones
// in a row, {now, at most so far}: whoever reads them now and then learns of every row.
DEVICE void decide_update(double squares, float learning_rate, float* __restrict__ update, long long* __restrict__ counts,
                          float clip_norm, float beta1, float beta2) {
    const double norm = sqrt(squares);
    const bool finite = norm < 3.0e38;
    const bool clipped = finite && norm > clip_norm;
    counts[0] += finite;
    counts[1] += !finite;
    counts[2] += clipped;
    counts[3] = finite ? 0 : counts[3] + 1;
    counts[4] = counts[3] > counts[4] ? counts[3] : counts[4];
    update[0] = finite ? 1.0f : 0.0f;
    update[1] = clipped ? (float)(clip_norm / norm) : 1.0f;
    update[2] = learning_rate;
    const double steps = (double)counts[0];
    update[3] = (float)(1.0 / (1.0 - pow((double)beta1, steps)));
    update[4] = (float)(1.0 / (1.0 - pow((double)beta2, steps)));
}
