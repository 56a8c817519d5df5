// The trained network in discrete time (docs/simulation.md): spikes on a grid of `window` steps a window, in the order in
// which they arrive, and membranes that integrate them step by step. No spike time is solved for here.
//
// A spike's step is 0 (as its window opens) to window (as it closes), or NO_SPIKE. Time counts in steps, so a potential is
// in units of what the threshold falls by in one, and the threshold falls from `window` to 0 by exactly 1 each.
// Called by ttfs_cupy/simulation.

#define NO_SPIKE -1

// The spikes of each image in the order of time, those of one step in the order of their neurons.
// steps (images, neurons); spikes (images, neurons): the neurons that spiked, and nothing is written after the last of
// them; ends (images, window + 1): how many spikes there are up to each step.
KERNEL void order_spikes(const int* __restrict__ steps, int* __restrict__ ends, int* __restrict__ spikes, int images,
                         int neurons, int window) {
    GRID_LOOP(image, images) {
        const int* __restrict__ const step = steps + (long long)image * neurons;
        int* __restrict__ const end = ends + (long long)image * (window + 1);
        int* __restrict__ const order = spikes + (long long)image * neurons;
        for (int k = 0; k <= window; ++k) end[k] = 0;
        for (int i = 0; i < neurons; ++i) {
            // where a step's spikes begin is where the next one's are counted
            if (step[i] >= 0 && step[i] < window) ++end[step[i] + 1];
        }
        for (int k = 1; k <= window; ++k) end[k] += end[k - 1];
        for (int i = 0; i < neurons; ++i) {
            if (step[i] >= 0 && step[i] <= window) order[end[step[i]]++] = i;
        }
    }
}

// Each spike, as it arrives, reaches the output pixels whose patch it lies in. row = (image, out_y, out_x). For each row,
// in the order of arrival: places (rows, patch) in its patch (kernel_h, kernel_w, channels), and arrivals (rows, patch),
// their steps; counts (rows): how many. Nothing is written after the last.
KERNEL void deliver_spikes(const int* __restrict__ steps, const int* __restrict__ ends, const int* __restrict__ spikes,
                           int* __restrict__ places, int* __restrict__ arrivals, int* __restrict__ counts, int images,
                           int window, int in_h, int in_w, int channels, int out_h, int out_w, int kernel_h, int kernel_w,
                           int stride_h, int stride_w, int padding_h, int padding_w) {
    const long long neurons = (long long)in_h * in_w * channels, patch = (long long)kernel_h * kernel_w * channels;
    GRID_LOOP(line, images * out_h) {
        const int image = line / out_h, top = line % out_h * stride_h - padding_h;
        const int arrived = ends[(long long)image * (window + 1) + window];
        int* __restrict__ const count = counts + (long long)line * out_w;
        for (int out_x = 0; out_x < out_w; ++out_x) count[out_x] = 0;
        for (int i = 0; i < arrived; ++i) {
            const int neuron = spikes[image * neurons + i], pixel = neuron / channels;
            const int tap_y = pixel / in_w - top, x = pixel % in_w + padding_w;
            if (tap_y < 0 || tap_y >= kernel_h) continue;
            for (int tap_x = 0; tap_x < kernel_w && tap_x <= x; ++tap_x) {
                const int out_x = (x - tap_x) / stride_w;
                if ((x - tap_x) % stride_w != 0 || out_x >= out_w) continue;
                const long long at = ((long long)line * out_w + out_x) * patch + count[out_x]++;
                places[at] = (tap_y * kernel_w + tap_x) * channels + neuron % channels;
                arrivals[at] = steps[image * neurons + neuron];
            }
        }
    }
}

// An input code without spike times: each value that is not 0 is a constant current, there from the window's first step.
// images NHWC; places, arrivals and counts as above; currents (rows, patch): the values.
KERNEL void deliver_currents(const float* __restrict__ images, int* __restrict__ places, int* __restrict__ arrivals,
                             float* __restrict__ currents, int* __restrict__ counts, int rows, int in_h, int in_w,
                             int channels, int out_h, int out_w, int kernel_h, int kernel_w, int stride_h, int stride_w,
                             int padding_h, int padding_w) {
    const long long patch = (long long)kernel_h * kernel_w * channels;
    GRID_LOOP(row, rows) {
        const int out_x = row % out_w, out_y = row / out_w % out_h, image = row / (out_w * out_h);
        int found = 0;
        for (int tap = 0; tap < kernel_h * kernel_w; ++tap) {
            const int y = out_y * stride_h - padding_h + tap / kernel_w, x = out_x * stride_w - padding_w + tap % kernel_w;
            if (y < 0 || y >= in_h || x < 0 || x >= in_w) continue;
            for (int c = 0; c < channels; ++c) {
                const float value = images[(((long long)image * in_h + y) * in_w + x) * channels + c];
                if (value == 0.0f) continue;
                const long long at = row * patch + found++;
                places[at] = tap * channels + c;
                arrivals[at] = 0;
                currents[at] = value;
            }
        }
        counts[row] = found;
    }
}

// Max pooling as spikes arrive: the first one of a window is passed on, those after it are not. pooled: steps, (images,
// out_h, out_w, channels). Without padding.
KERNEL void pass_first_spikes(const int* __restrict__ steps, const int* __restrict__ ends,
                              const int* __restrict__ spikes, int* __restrict__ pooled, int images, int window, int in_h,
                              int in_w, int channels, int out_h, int out_w, int kernel_h, int kernel_w, int stride_h,
                              int stride_w) {
    const long long neurons = (long long)in_h * in_w * channels;
    GRID_LOOP(line, images * out_h) {
        const int image = line / out_h, top = line % out_h * stride_h;
        const int arrived = ends[(long long)image * (window + 1) + window];
        int* __restrict__ const passed = pooled + (long long)line * out_w * channels;
        for (int i = 0; i < out_w * channels; ++i) passed[i] = NO_SPIKE;
        for (int i = 0; i < arrived; ++i) {
            const int neuron = spikes[image * neurons + i], channel = neuron % channels, pixel = neuron / channels;
            const int tap_y = pixel / in_w - top, x = pixel % in_w;
            if (tap_y < 0 || tap_y >= kernel_h) continue;
            for (int tap_x = 0; tap_x < kernel_w && tap_x <= x; ++tap_x) {
                const int out_x = (x - tap_x) / stride_w;
                if ((x - tap_x) % stride_w != 0 || out_x >= out_w) continue;
                int* __restrict__ const own = passed + (long long)out_x * channels + channel;
                if (*own == NO_SPIKE) *own = steps[image * neurons + neuron];
            }
        }
    }
}

// A sum of many steps, and what rounding took from it (Kahan, 1965): its error does not grow with their number.
template <typename Number>
struct Membrane {
    Number potential, lost;
};

template <typename Number>
DEVICE void integrate(Membrane<Number>& membrane, Number slope) {
    const Number step = slope - membrane.lost;
    const Number next = membrane.potential + step;
    membrane.lost = (next - membrane.potential) - step;
    membrane.potential = next;
}

// What arrives at one row's neurons: in the order of time, their places in the patch and steps; current: what a weight is
// multiplied by until the window opens, null for spikes, of which each counts once.
struct Arriving {
    const int *place, *step;
    const float* current;
    int count, window;
};

// A strip of a row's neurons. weights and the arrays to write begin at the strip's first channel.
template <typename Scalar>
DEVICE void simulate_strip(const Arriving& arriving, const Scalar* __restrict__ weights, int channels,
                           const Scalar* __restrict__ initial, Scalar psp_slope, Scalar current_scale,
                           int* __restrict__ spike_step, Scalar* __restrict__ opening, Scalar* __restrict__ closing,
                           Scalar* __restrict__ weight_sum, Scalar* __restrict__ weight_size, int lanes) {
    typedef typename LanesOf<Scalar>::Type Number;
    const Number zero = broadcast((Scalar)0), none = broadcast((Scalar)NO_SPIKE);
    Number slope = zero, sum = zero, size = zero;
    Membrane<Number> membrane = {zero, zero};
    // while the layer below spikes: an input raises the slope by its weight, from its spike on
    int next = 0;
    for (int step = 0; step <= arriving.window; ++step) {
        for (; next < arriving.count && arriving.step[next] == step; ++next) {
            const Number w = load(weights + (long long)arriving.place[next] * channels, lanes);
            slope += arriving.current ? w * (current_scale * (Scalar)arriving.current[next]) : w;
            sum += w;
            size += w < zero ? -w : w;
        }
        if (step < arriving.window) integrate(membrane, slope);
    }
    // its own window: post-synaptic potentials go on at psp_slope times their slope, and the threshold falls
    if (initial) integrate(membrane, load(initial, lanes) * (Scalar)arriving.window);
    store(opening, membrane.potential, lanes);
    slope = psp_slope * sum;
    Number spike = none;
    for (int step = 0; step < arriving.window; ++step) {
        const Number threshold = broadcast((Scalar)(arriving.window - step));
        spike = (membrane.potential >= threshold) & (spike < zero) ? broadcast((Scalar)step) : spike;
        integrate(membrane, slope);
    }
    // what has not passed the threshold before the window closes is silent
    spike = (membrane.potential > zero) & (spike < zero) ? broadcast((Scalar)arriving.window) : spike;
    store(spike_step, spike, lanes);
    store(closing, membrane.potential, lanes);
    store(weight_sum, sum, lanes);
    store(weight_size, size, lanes);
}

// Each neuron through its input's window and its own, from what arrives: (rows, channels) all, but for places, arrivals,
// currents (rows, patch) and counts (rows), weights (patch, channels), and initial (channels), the share of its first
// threshold that a neuron is charged with as its window opens. Out come spike_steps; the potential as the window opens and
// as it closes, had the neuron not spiked; the sum of the weights that arrived, and that of their magnitudes.
KERNEL void simulate_neurons(const int* __restrict__ places, const int* __restrict__ arrivals,
                             const float* __restrict__ OPTIONAL currents, const int* __restrict__ counts,
                             const float* __restrict__ weights, const float* __restrict__ OPTIONAL initial,
                             float psp_slope, float current_scale, int* __restrict__ spike_steps,
                             float* __restrict__ opening, float* __restrict__ closing, float* __restrict__ weight_sum,
                             float* __restrict__ weight_size, int window, int rows, int patch, int channels) {
    ROW_LOOP(row, rows, channels) {
        const long long list = (long long)row * patch, first = (long long)row * channels;
        const Arriving arriving = {places + list, arrivals + list, currents ? currents + list : nullptr, counts[row], window};
        EACH_STRIP(column, channels,
                   simulate_strip<float>(arriving, weights + column, channels, initial ? initial + column : nullptr,
                                         psp_slope, current_scale, spike_steps + first + column, opening + first + column,
                                         closing + first + column, weight_sum + first + column,
                                         weight_size + first + column, lanes))
    }
}

KERNEL void simulate_neurons_double(const int* __restrict__ places, const int* __restrict__ arrivals,
                                    const float* __restrict__ OPTIONAL currents, const int* __restrict__ counts,
                                    const double* __restrict__ weights, const double* __restrict__ OPTIONAL initial,
                                    double psp_slope, double current_scale, int* __restrict__ spike_steps,
                                    double* __restrict__ opening, double* __restrict__ closing,
                                    double* __restrict__ weight_sum, double* __restrict__ weight_size, int window, int rows,
                                    int patch, int channels) {
    ROW_LOOP(row, rows, channels) {
        const long long list = (long long)row * patch, first = (long long)row * channels;
        const Arriving arriving = {places + list, arrivals + list, currents ? currents + list : nullptr, counts[row], window};
        EACH_STRIP(column, channels,
                   simulate_strip<double>(arriving, weights + column, channels, initial ? initial + column : nullptr,
                                          psp_slope, current_scale, spike_steps + first + column, opening + first + column,
                                          closing + first + column, weight_sum + first + column,
                                          weight_size + first + column, lanes))
    }
}
