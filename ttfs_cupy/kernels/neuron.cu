// The spiking neuron and the readout, element by element: arrays hold n float32 values. The rule stands in neuron.h.
// psp_slope points to one float in device memory, since a schedule may change it between two replays of the same step.
// weight_sum is null where psp_slope is 0. initial, unless null, is the potential that the neurons of each channel begin
// with: A grows by T times it (docs/model.md, "Initial potential"). Called by ttfs_cupy/neuron.

KERNEL void fire(const float* __restrict__ drive, const float* __restrict__ OPTIONAL weight_sum,
                 const float* __restrict__ psp_slope, float scale, float t_win,
                 const float* __restrict__ OPTIONAL initial, float* __restrict__ earliness, int channels, int n) {
    const float slope = weight_sum ? *psp_slope : 0.0f;
    const float* __restrict__ const sum = weight_sum ? weight_sum : drive;
    if (initial) {
        ROW_LOOP(row, n / channels, channels) {
            const long long first = (long long)row * channels;
            COLUMN_LOOP(c, channels) {
                const float a = scale * drive[first + c] + t_win * initial[c];
                earliness[first + c] = earliness_of<float>(a, sum[first + c], slope, t_win);
            }
        }
    } else {
        GRID_LOOP(i, n) earliness[i] = earliness_of<float>(scale * drive[i], sum[i], slope, t_win);
    }
}

// grad is dLoss/dx; out come dLoss/dA (grad_drive) and dLoss/dS (grad_sum, unless null).
KERNEL void spike_gradient(const float* __restrict__ grad, const float* __restrict__ earliness,
                           const float* __restrict__ OPTIONAL weight_sum, const float* __restrict__ psp_slope,
                           float scale, float t_win, float grad_clip, int separate, float* __restrict__ grad_drive,
                           float* __restrict__ OPTIONAL grad_sum, int n) {
    const SpikeDerivative of = {weight_sum ? *psp_slope : 0.0f, scale, t_win, grad_clip, separate != 0};
    const float* __restrict__ const sum = weight_sum ? weight_sum : earliness;
    if (grad_sum) {
        GRID_LOOP(i, n) {
            const Outgoing<float> outgoing = outgoing_gradient<float>(of, grad[i], earliness[i], sum[i]);
            grad_drive[i] = outgoing.to_drive;
            grad_sum[i] = outgoing.to_sum;
        }
    } else {
        GRID_LOOP(i, n) grad_drive[i] = outgoing_gradient<float>(of, grad[i], earliness[i], sum[i]).to_drive;
    }
}

// What the softmax of a readout that fires is of: its earliness, and of classes that are silent `of_silence`.
KERNEL void exclude_silent(const float* __restrict__ earliness, float of_silence, float* __restrict__ logits, int n) {
    GRID_LOOP(i, n) logits[i] = earliness[i] == 0.0f ? of_silence : earliness[i];
}

// A readout does not fire: M = A + L T S, the membrane potential at the end of the window.
KERNEL void potential(const float* __restrict__ drive, const float* __restrict__ OPTIONAL weight_sum,
                      const float* __restrict__ psp_slope, float t_win, const float* __restrict__ OPTIONAL initial,
                      float* __restrict__ membrane, int channels, int n) {
    const float factor = weight_sum ? *psp_slope * t_win : 0.0f;
    const float* __restrict__ const sum = weight_sum ? weight_sum : drive;
    if (initial) {
        ROW_LOOP(row, n / channels, channels) {
            const long long first = (long long)row * channels;
            COLUMN_LOOP(c, channels) membrane[first + c] = drive[first + c] + t_win * initial[c] + factor * sum[first + c];
        }
    } else {
        GRID_LOOP(i, n) membrane[i] = drive[i] + factor * sum[i];
    }
}

KERNEL void potential_gradient(const float* __restrict__ grad, const float* __restrict__ psp_slope, float t_win,
                               float* __restrict__ grad_drive, float* __restrict__ OPTIONAL grad_sum, int n) {
    const float factor = *psp_slope * t_win;
    GRID_LOOP(i, n) grad_drive[i] = grad[i];
    if (grad_sum) { GRID_LOOP(i, n) grad_sum[i] = factor * grad[i]; }
}
