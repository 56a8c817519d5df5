// Patches (im2col) for convolutions as matrix products. Images are NHWC; a patch row is (kernel_h, kernel_w, channels),
// the order of the weights (kernel_h, kernel_w, in, out). Only the rows [first_row, first_row + rows) of the whole
// patch matrix are made, so the buffer stays bounded. Called by convolution/gemm.py, and sum_parts
// by convolution/direct.py, too.

// Forward and weight gradient: row = (image, out_y, out_x). Outside the image is silence. With has_mask, the rows
// after the first `rows` hold the mask of the same patches: 1 where x != 0.
KERNEL void gather_patches(const float* __restrict__ images, float* __restrict__ patches, int first_row, int rows,
                           int has_mask, int in_h, int in_w, int channels, int out_h, int out_w, int kernel_h,
                           int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w) {
    const int taps = kernel_h * kernel_w;
    const long long half = (long long)rows * taps * channels;
    ROW_LOOP(segment, rows * taps, channels) {
        const int pixel = first_row + segment / taps, tap = segment % taps;
        const int out_x = pixel % out_w, out_y = pixel / out_w % out_h, image = pixel / (out_w * out_h);
        const int y = out_y * stride_h - padding_h + tap / kernel_w;
        const int x = out_x * stride_w - padding_w + tap % kernel_w;
        const bool inside = y >= 0 && y < in_h && x >= 0 && x < in_w;
        const float* __restrict__ source = images + ((long long)(image * in_h + y) * in_w + x) * channels;
        float* __restrict__ values = patches + (long long)segment * channels;
        float* __restrict__ mask = values + half;
        if (!inside) {
            COLUMN_LOOP(c, channels) values[c] = 0.0f;
            if (has_mask) { COLUMN_LOOP(c, channels) mask[c] = 0.0f; }
        } else if (has_mask) {
            COLUMN_LOOP(c, channels) {
                const float value = source[c];
                values[c] = value;
                mask[c] = value != 0.0f ? 1.0f : 0.0f;
            }
        } else {
            COLUMN_LOOP(c, channels) values[c] = source[c];
        }
    }
}

// Data gradient: row = (image, y, x) of the input; for each tap the gradient of the one output that saw this input
// through it, or 0 where there is none (outside, or between strides). grads is (images, out_h, out_w, channels).
KERNEL void gather_output_gradients(const float* __restrict__ grads, float* __restrict__ patches, int first_row,
                                    int rows, int in_h, int in_w, int channels, int out_h, int out_w, int kernel_h,
                                    int kernel_w, int stride_h, int stride_w, int padding_h, int padding_w) {
    const int taps = kernel_h * kernel_w;
    ROW_LOOP(segment, rows * taps, channels) {
        const int pixel = first_row + segment / taps, tap = segment % taps;
        const int x = pixel % in_w, y = pixel / in_w % in_h, image = pixel / (in_w * in_h);
        const int up = y + padding_h - tap / kernel_w, left = x + padding_w - tap % kernel_w;
        const int out_y = up / stride_h, out_x = left / stride_w;
        const bool seen = up >= 0 && left >= 0 && up % stride_h == 0 && left % stride_w == 0 && out_y < out_h &&
                          out_x < out_w;
        const float* __restrict__ source = grads + ((long long)(image * out_h + out_y) * out_w + out_x) * channels;
        float* __restrict__ values = patches + (long long)segment * channels;
        if (seen) {
            COLUMN_LOOP(c, channels) values[c] = source[c];
        } else {
            COLUMN_LOOP(c, channels) values[c] = 0.0f;
        }
    }
}

// (taps, in, out) -> (taps, out, in), for the data gradient's product.
KERNEL void transpose_weights(const float* __restrict__ weights, float* __restrict__ transposed, int taps,
                              int in_channels, int out_channels) {
    ROW_LOOP(row, taps * out_channels, in_channels) {
        const int tap = row / out_channels, o = row % out_channels;
        const float* __restrict__ source = weights + (long long)tap * in_channels * out_channels + o;
        float* __restrict__ target = transposed + (long long)row * in_channels;
        COLUMN_LOOP(i, in_channels) target[i] = source[(long long)i * out_channels];
    }
}

// Sums `parts` arrays of n in their order, so that the bits do not depend on who finished first.
KERNEL void sum_parts(const float* __restrict__ parts_of_sum, float* __restrict__ sum, int parts, int n) {
    GRID_LOOP(i, n) {
        float total = parts_of_sum[i];
        for (int part = 1; part < parts; ++part) total += parts_of_sum[(long long)part * n + i];
        sum[i] = total;
    }
}
