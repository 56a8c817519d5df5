// The spiking neuron's rule and derivatives (docs/model.md, "A spiking layer"; Wei et al., ICCV 2023), one at a time, for
// all kernels that apply them.
//
//   A = drive, S = weight_sum, u = time since the window opened, L = psp_slope, T = t_win
//   V(u) = A + L S u   membrane potential        theta(u) = T - u   dynamic threshold
//   x    = T - (first u with V >= theta)         earliness; 0 is silence
//
// With L = 0 this is x = clip(A, 0, T); S may then be any finite number.

template <typename Number>
DEVICE Number earliness_of(Number a, Number s, float slope, float t_win) {
    const Number zero = Constant<Number>::of(0.0f), one = Constant<Number>::of(1.0f), end = Constant<Number>::of(t_win);
    const Number gain_inverse = one + slope * s;
    const Number numerator = a + slope * t_win * s;
    const auto fires = (gain_inverse > zero) & (numerator > zero);
    const Number inside = numerator / (fires ? gain_inverse : one);
    const Number fired = inside < end ? inside : end;
    return a >= end ? end : (fires ? fired : zero);
}

// Backward, from grad = dLoss/dx. Only a neuron that fired strictly inside its window, 0 < x < T, carries gradient. With
// the gain r = 1 / (1 + L S):  dx/dA = r,  dx/dS = L (T - x) r,  and r is at most grad_clip (clip "gain").
//
// clip "separate", T2FSNN's (L = 1), clips dt/dI = 1/D and dt/dS = -(2T - x)/D one by one. 1/D is positive where a neuron
// fired, so dx/dA is the same there, and dx/dS = -(T dt/dI + dt/dS).
//
// scale: of the drive, T in the coding layer of direct encoding and 1 elsewhere.
struct SpikeDerivative {
    float slope, scale, t_win, grad_clip;
    bool separate;
};

// The two derivatives times dLoss/dx: dLoss/dA and dLoss/dS.
template <typename Number>
struct Outgoing {
    Number to_drive, to_sum;
};

template <typename Number>
DEVICE Outgoing<Number> outgoing_gradient(const SpikeDerivative& of, Number grad, Number x, Number s) {
    const Number zero = Constant<Number>::of(0.0f), one = Constant<Number>::of(1.0f);
    const Number end = Constant<Number>::of(of.t_win), most = Constant<Number>::of(of.grad_clip);
    const Number left = end - x;
    const auto inside = at_most(x, left) > zero;
    const Number gain = reciprocal(inside ? one + of.slope * s : one);
    const Number bounded = at_most(gain, most), own = inside ? grad : zero;
    Number by_sum = of.slope * left * bounded;
    if (of.separate) {
        const Number by_time = (2.0f * end - x) * gain;
        by_sum = at_most(by_time, most) - end * bounded;
    }
    return {own * (of.scale * bounded), own * by_sum};
}

// What a layer's gradient is made of: grad = dLoss/dx, x and S, (N, height, width, channels); or, with winner, those of
// the 2x2 windows' earliest spikes, to which alone their gradient goes.
struct Spikes {
    const float *grad, *earliness, *weight_sum;
    const unsigned char* winner;
    int height, width, channels;
    SpikeDerivative derivative;
};

#define OUTSIDE -1

// Where the neurons of a pixel, or of the 2x2 window that it lies in, are found: their number, or OUTSIDE the image.
DEVICE int neuron_at(const Spikes& of, int image, int y, int x) {
    const int pooled = of.winner ? 1 : 0, height = of.height >> pooled, width = of.width >> pooled;
    const bool inside = y >= 0 && y >> pooled < height && x >= 0 && x >> pooled < width;
    return inside ? (image * height + (y >> pooled)) * width + (x >> pooled) : OUTSIDE;
}

// A pixel's place in its 2x2 window; of negative coordinates, too.
DEVICE int place_in_window(int y, int x) { return (y & 1) * 2 + (x & 1); }

// Of a strip of a pixel's neurons; 0 outside the image, and for those that did not win in their window.
DEVICE Outgoing<Lanes> load_gradient(const Spikes& of, int neuron, int place, int column, int lanes) {
    const Lanes zero = broadcast(0.0f);
    if (neuron == OUTSIDE) return {zero, zero};
    const long long at = (long long)neuron * of.channels + column;
    PREFETCH(of.grad + at + LANES);
    PREFETCH(of.earliness + at + LANES);
    PREFETCH(of.weight_sum + at + LANES);
    const Outgoing<Lanes> outgoing = outgoing_gradient<Lanes>(of.derivative, load(of.grad + at, lanes),
                                                              load(of.earliness + at, lanes), load(of.weight_sum + at, lanes));
    if (!of.winner) return outgoing;
    const auto won = load(of.winner + at, lanes) == broadcast(place);
    return {won ? outgoing.to_drive : zero, won ? outgoing.to_sum : zero};
}
