// Convolution written out, for patches of a few values, such as a first layer's: neither a matrix product nor Winograd
// suits a patch of nine. Images are NHWC, weights (patch, out_channels) with patch = (kernel_h, kernel_w, in_channels);
// row = (image, out_y, out_x). Called by ttfs_cupy/convolution/direct.py.

#define MOST_PATCH_VALUES 64

// The patch of one row, and its mask x != 0; outside the image is silence.
DEVICE void read_patch(const float* __restrict__ images, float* __restrict__ values, float* __restrict__ mask, int row,
                       int in_h, int in_w, int channels, int out_h, int out_w, int kernel_h, int kernel_w, int stride_h,
                       int stride_w, int padding_h, int padding_w) {
    const int out_x = row % out_w, out_y = row / out_w % out_h, image = row / (out_w * out_h);
    int place = 0;
    for (int tap = 0; tap < kernel_h * kernel_w; ++tap) {
        const int y = out_y * stride_h - padding_h + tap / kernel_w, x = out_x * stride_w - padding_w + tap % kernel_w;
        const bool inside = y >= 0 && y < in_h && x >= 0 && x < in_w;
        const long long pixel = ((long long)(image * in_h + y) * in_w + x) * channels;
        for (int c = 0; c < channels; ++c, ++place) {
            const float value = inside ? images[pixel + c] : 0.0f;
            values[place] = value;
            mask[place] = value != 0.0f ? 1.0f : 0.0f;
        }
    }
}

DEVICE void direct_fire_strip(const float* __restrict__ values, const float* __restrict__ mask, int patch,
                              const float* __restrict__ weights, int out_channels, int has_mask, float slope, float scale,
                              float t_win, const float* __restrict__ initial, float* __restrict__ earliness,
                              float* __restrict__ weight_sum, int lanes) {
    Lanes a = broadcast(0.0f), s = a;
    for (int k = 0; k < patch; ++k) {
        const Lanes w = load(weights + (long long)k * out_channels, lanes);
        a += values[k] * w;
        if (has_mask) s += mask[k] * w;
    }
    if (initial) {
        const Lanes more = t_win * load(initial, lanes);
        store(earliness, earliness_of<Lanes>(scale * a + more, s, slope, t_win), lanes);
    } else {
        store(earliness, earliness_of<Lanes>(scale * a, s, slope, t_win), lanes);
    }
    if (weight_sum) store(weight_sum, s, lanes);
}

// The neurons' earliness and, unless null, their weight_sum: (rows, out_channels). Without has_mask psp_slope is 0.
KERNEL void direct_fire(const float* __restrict__ images, const float* __restrict__ weights,
                        const float* __restrict__ psp_slope, float scale, float t_win,
                        const float* __restrict__ OPTIONAL initial, int has_mask, float* __restrict__ earliness,
                        float* __restrict__ OPTIONAL weight_sum, int rows, int out_channels, int in_h, int in_w, int channels, int out_h, int out_w, int kernel_h,
                        int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w) {
    const int patch = kernel_h * kernel_w * channels;
    const float slope = has_mask ? *psp_slope : 0.0f;
    ROW_LOOP(row, rows, out_channels) {
        float values[MOST_PATCH_VALUES], mask[MOST_PATCH_VALUES];
        read_patch(images, values, mask, row, in_h, in_w, channels, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w,
                   padding_h, padding_w);
        const long long first = (long long)row * out_channels;
        EACH_STRIP(column, out_channels,
                   direct_fire_strip(values, mask, patch, weights + column, out_channels, has_mask, slope, scale, t_win,
                                     initial ? initial + column : nullptr, earliness + first + column,
                                     weight_sum ? weight_sum + first + column : nullptr, lanes))
    }
}

// Adds one row's share of the weights' gradient to sums.
DEVICE void add_weight_gradient(const Spikes& of, int row, int has_sum, const float* __restrict__ values,
                                const float* __restrict__ mask, int patch, float* __restrict__ sums, int column,
                                int lanes) {
    const Outgoing<Lanes> outgoing = load_gradient(of, row, 0, column, lanes);
    for (int k = 0; k < patch; ++k) {
        float* __restrict__ const target = sums + (long long)k * of.channels + column;
        Lanes sum = load(target, lanes) + values[k] * outgoing.to_drive;
        if (has_sum) sum += mask[k] * outgoing.to_sum;
        store(target, sum, lanes);
    }
}

// sums (groups, patch, out_channels): the weights' gradient summed over each group of group_rows rows, in their order.
// grad, earliness and weight_sum (null where psp_slope is 0): (rows, out_channels).
KERNEL void direct_weight_gradient(const float* __restrict__ images, const float* __restrict__ grad,
                                   const float* __restrict__ earliness, const float* __restrict__ OPTIONAL weight_sum,
                                   const float* __restrict__ psp_slope, float scale, float t_win, float grad_clip,
                                   int separate, float* __restrict__ sums, int groups, int group_rows, int rows,
                                   int out_channels, int in_h, int in_w, int channels, int out_h, int out_w, int kernel_h,
                                   int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w) {
    const int patch = kernel_h * kernel_w * channels, has_sum = weight_sum != nullptr;
    const SpikeDerivative derivative = {has_sum ? *psp_slope : 0.0f, scale, t_win, grad_clip, separate != 0};
    const Spikes of = {grad, earliness, has_sum ? weight_sum : earliness, nullptr, out_h, out_w, out_channels, derivative};
    ROW_LOOP(group, groups, out_channels) {
        float* __restrict__ const sum = sums + (long long)group * patch * out_channels;
        for (int k = 0; k < patch; ++k) {
            EACH_STRIP(column, out_channels, store(sum + k * out_channels + column, broadcast(0.0f), lanes))
        }
        const int first = group * group_rows;
        const int last = first + group_rows < rows ? first + group_rows : rows;
        for (int row = first; row < last; ++row) {
            float values[MOST_PATCH_VALUES], mask[MOST_PATCH_VALUES];
            read_patch(images, values, mask, row, in_h, in_w, channels, out_h, out_w, kernel_h, kernel_w, stride_h,
                       stride_w, padding_h, padding_w);
            EACH_STRIP(column, out_channels, add_weight_gradient(of, row, has_sum, values, mask, patch, sum, column, lanes))
        }
    }
}
