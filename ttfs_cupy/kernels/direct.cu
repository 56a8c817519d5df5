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

// drive and, with_sum, weight_sum of the rows from first_row: (rows, out_channels).
KERNEL void direct_forward(const float* __restrict__ images, const float* __restrict__ weights,
                           float* __restrict__ drive, float* __restrict__ weight_sum, int with_sum, int first_row,
                           int rows, int out_channels, int in_h, int in_w, int channels, int out_h, int out_w,
                           int kernel_h, int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w) {
    const int patch = kernel_h * kernel_w * channels;
    ROW_LOOP(row, rows, out_channels) {
        float values[MOST_PATCH_VALUES], mask[MOST_PATCH_VALUES];
        read_patch(images, values, mask, first_row + row, in_h, in_w, channels, out_h, out_w, kernel_h, kernel_w,
                   stride_h, stride_w, padding_h, padding_w);
        float* __restrict__ a = drive + (long long)row * out_channels;
        float* __restrict__ sum = weight_sum + (long long)row * out_channels;
        COLUMN_LOOP(o, out_channels) a[o] = 0.0f;
        if (with_sum) { COLUMN_LOOP(o, out_channels) sum[o] = 0.0f; }
        for (int k = 0; k < patch; ++k) {
            const float value = values[k], fired = mask[k];
            const float* __restrict__ w = weights + k * out_channels;
            if (with_sum) {
                COLUMN_LOOP(o, out_channels) {
                    a[o] += value * w[o];
                    sum[o] += fired * w[o];
                }
            } else {
                COLUMN_LOOP(o, out_channels) a[o] += value * w[o];
            }
        }
    }
}

// sums (groups, patch, out_channels): the weights' gradient summed over each group of group_rows rows, in their order.
// grad_drive and, with_sum, grad_sum: (rows, out_channels).
KERNEL void direct_weight_gradient(const float* __restrict__ images, const float* __restrict__ grad_drive,
                                   const float* __restrict__ grad_sum, int with_sum, float* __restrict__ sums,
                                   int groups, int group_rows, int rows, int out_channels, int in_h, int in_w,
                                   int channels, int out_h, int out_w, int kernel_h, int kernel_w, int stride_h,
                                   int stride_w, int padding_h, int padding_w) {
    const int patch = kernel_h * kernel_w * channels;
    ROW_LOOP(group, groups, out_channels) {
        float* __restrict__ sum = sums + (long long)group * patch * out_channels;
        for (int k = 0; k < patch; ++k) {
            COLUMN_LOOP(o, out_channels) sum[k * out_channels + o] = 0.0f;
        }
        const int first = group * group_rows;
        const int last = first + group_rows < rows ? first + group_rows : rows;
        for (int row = first; row < last; ++row) {
            float values[MOST_PATCH_VALUES], mask[MOST_PATCH_VALUES];
            read_patch(images, values, mask, row, in_h, in_w, channels, out_h, out_w, kernel_h, kernel_w, stride_h,
                       stride_w, padding_h, padding_w);
            const float* __restrict__ to_drive = grad_drive + (long long)row * out_channels;
            const float* __restrict__ to_sum = grad_sum + (long long)row * out_channels;
            for (int k = 0; k < patch; ++k) {
                const float value = values[k], fired = mask[k];
                float* __restrict__ target = sum + k * out_channels;
                if (with_sum) {
                    COLUMN_LOOP(o, out_channels) target[o] += value * to_drive[o] + fired * to_sum[o];
                } else {
                    COLUMN_LOOP(o, out_channels) target[o] += value * to_drive[o];
                }
            }
        }
    }
}
