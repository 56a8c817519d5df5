// The gradient of the initial potentials (docs/model.md, "Initial potential") on a CPU, whose threads each have parts of the
// rows; a GPU's is in cooperative/reductions/initial_potentials.cu. Called by device/initial_potential.py.

// grad, earliness and weight_sum (null where psp_slope is 0), (rows, channels), as a layer's backward gets them ->
// sums (parts, channels): T dLoss/dA summed over each part's part_rows rows, in their order. fires is 0: of neurons that
// do not, T grad.
KERNEL void initial_potential_gradient(const float* __restrict__ grad, const float* __restrict__ earliness,
                                       const float* __restrict__ OPTIONAL weight_sum, const float* __restrict__ psp_slope,
                                       float t_win, float grad_clip, int separate, int fires, float* __restrict__ sums,
                                       int parts, int part_rows, int rows, int channels) {
    // scale: what dLoss/dA is multiplied by
    const SpikeDerivative derivative = {weight_sum ? *psp_slope : 0.0f, t_win, t_win, grad_clip, separate != 0};
    const Spikes of = {grad, earliness, weight_sum ? weight_sum : earliness, nullptr, rows, 1, channels, derivative};
    GRID_LOOP(part, parts) {
        const int first = part * part_rows, last = rows - first < part_rows ? rows : first + part_rows;
        float* __restrict__ const sum = sums + (long long)part * channels;
        EACH_STRIP(column, channels, {
            Lanes total = broadcast(0.0f);
            for (int row = first; row < last; ++row) {
                total += fires ? load_gradient(of, row, 0, column, lanes).to_drive
                               : t_win * load(grad + (long long)row * channels + column, lanes);
            }
            store(sum + column, total, lanes);
        })
    }
}
