// The spiking neuron (SPEC "A spiking layer"; Wei et al., ICCV 2023), element by element.
//
//   A = drive, S = weight_sum, u = time since the window opened, L = psp_slope, T = t_win
//   V(u) = A + L S u   membrane potential        theta(u) = T - u   dynamic threshold
//   x    = T - (first u with V >= theta)         earliness; 0 is silence
//
// Arrays hold n float32 values; psp_slope points to one float in device memory, since a schedule may change it
// between two replays of the same step. Called by ttfs_cupy/neuron.py.

DEVICE float earliness_of(float a, float s, float slope, float t_win) {
    const float gain_inverse = 1.0f + slope * s;
    const float numerator = a + slope * t_win * s;
    const bool fires = gain_inverse > 0.0f && numerator > 0.0f;
    const float inside = at_most(numerator / (fires ? gain_inverse : 1.0f), t_win);
    return a >= t_win ? t_win : (fires ? inside : 0.0f);
}

KERNEL void fire(const float* __restrict__ drive, const float* __restrict__ weight_sum,
                 const float* __restrict__ psp_slope, float t_win, float* __restrict__ earliness, int n) {
    const float slope = *psp_slope;
    GRID_LOOP(i, n) earliness[i] = earliness_of(drive[i], weight_sum[i], slope, t_win);
}

// psp_slope 0, and the coding layer of direct encoding: x = clip(scale A, 0, T).
KERNEL void saturate(const float* __restrict__ drive, float scale, float t_win, float* __restrict__ earliness, int n) {
    GRID_LOOP(i, n) {
        const float x = scale * drive[i];
        earliness[i] = at_most(at_least(x, 0.0f), t_win);
    }
}

// A readout does not fire: M = A + L T S, the membrane potential at the end of the window.
KERNEL void potential(const float* __restrict__ drive, const float* __restrict__ weight_sum,
                      const float* __restrict__ psp_slope, float t_win, float* __restrict__ membrane, int n) {
    const float factor = *psp_slope * t_win;
    GRID_LOOP(i, n) membrane[i] = drive[i] + factor * weight_sum[i];
}

// Backward: grad is dLoss/dx; out come dLoss/dA (grad_drive) and, with_sum, dLoss/dS (grad_sum), zero unless 0 < x < T.
// With the gain r = 1 / (1 + L S):  dx/dA = r,  dx/dS = L (T - x) r.

// clip "gain" (r at most grad_clip; infinite for clip "none").
KERNEL void spike_gradient(const float* __restrict__ grad, const float* __restrict__ earliness,
                           const float* __restrict__ weight_sum, const float* __restrict__ psp_slope, float t_win,
                           float grad_clip, float* __restrict__ grad_drive, float* grad_sum, int with_sum, int n) {
    const float slope = *psp_slope;
    GRID_LOOP(i, n) {
        const float x = earliness[i];
        const bool inside = x > 0.0f && x < t_win;
        const float gain = at_most(1.0f / (inside ? 1.0f + slope * weight_sum[i] : 1.0f), grad_clip);
        const float toward_drive = inside ? grad[i] * gain : 0.0f;
        grad_drive[i] = toward_drive;
        if (with_sum) grad_sum[i] = toward_drive * slope * (t_win - x);
    }
}

// clip "separate", T2FSNN's (L = 1): dt/dI = 1/D and dt/dS = -(2T - x)/D are clipped one by one.
KERNEL void spike_gradient_separate(const float* __restrict__ grad, const float* __restrict__ earliness,
                                    const float* __restrict__ weight_sum, float t_win, float grad_clip,
                                    float* __restrict__ grad_drive, float* grad_sum, int with_sum, int n) {
    GRID_LOOP(i, n) {
        const float x = earliness[i];
        const bool inside = x > 0.0f && x < t_win;
        const float gain = 1.0f / (inside ? 1.0f + weight_sum[i] : 1.0f);
        const float clipped_i = at_least(at_most(gain, grad_clip), -grad_clip);
        const float clipped_s = at_least(at_most(-(2.0f * t_win - x) * gain, grad_clip), -grad_clip);
        const float outgoing = inside ? grad[i] : 0.0f;
        grad_drive[i] = outgoing * clipped_i;
        if (with_sum) grad_sum[i] = -outgoing * (t_win * clipped_i + clipped_s);
    }
}

KERNEL void saturate_gradient(const float* __restrict__ grad, const float* __restrict__ earliness, float scale,
                              float t_win, float* __restrict__ grad_drive, int n) {
    GRID_LOOP(i, n) {
        const float x = earliness[i];
        grad_drive[i] = x > 0.0f && x < t_win ? grad[i] * scale : 0.0f;
    }
}

KERNEL void potential_gradient(const float* __restrict__ grad, const float* __restrict__ psp_slope, float t_win,
                               float* __restrict__ grad_drive, float* grad_sum, int with_sum, int n) {
    const float factor = *psp_slope * t_win;
    GRID_LOOP(i, n) {
        grad_drive[i] = grad[i];
        if (with_sum) grad_sum[i] = factor * grad[i];
    }
}
