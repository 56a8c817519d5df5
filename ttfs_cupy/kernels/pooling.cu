// Max pooling of spikes: the earliest in the window wins, a maximum over earliness (docs/model.md, "Max pooling"). NHWC, no
// padding. winner keeps one byte per output: the position in the window, row by row, or 255 if all are silent.
// Called by engine/layers.py, and the gradient by convolution/first_layer.py, too.

KERNEL void earliest_spike(const float* __restrict__ earliness, float* __restrict__ pooled,
                           unsigned char* __restrict__ winner, int pixels, int channels, int in_h, int in_w, int out_h,
                           int out_w, int kernel_h, int kernel_w, int stride_h, int stride_w) {
    ROW_LOOP(pixel, pixels, channels) {
        const int out_x = pixel % out_w, out_y = pixel / out_w % out_h, image = pixel / (out_w * out_h);
        const float* __restrict__ corner =
            earliness + ((long long)(image * in_h + out_y * stride_h) * in_w + out_x * stride_w) * channels;
        float* __restrict__ best = pooled + (long long)pixel * channels;
        unsigned char* __restrict__ place = winner + (long long)pixel * channels;
        COLUMN_LOOP(c, channels) {
            best[c] = corner[c];
            place[c] = corner[c] > 0.0f ? 0 : 255;
        }
        for (int position = 1; position < kernel_h * kernel_w; ++position) {
            const float* __restrict__ candidate =
                corner + (position / kernel_w * in_w + position % kernel_w) * channels;
            COLUMN_LOOP(c, channels) {
                // strictly earlier, so that the first in row-major order wins a tie; arithmetic, not a choice, since
                // compilers make a branch of two choices and then no vectors
                const float so_far = best[c];
                const int earlier = candidate[c] > so_far;
                best[c] = at_least(candidate[c], so_far);
                place[c] = (unsigned char)(place[c] + (position - place[c]) * earlier);
            }
        }
    }
}

// Each input gathers from the windows that it lies in, so overlapping windows need no atomics.
KERNEL void earliest_spike_gradient(const float* __restrict__ grad_pooled, const unsigned char* __restrict__ winner,
                                    float* __restrict__ grad, int pixels, int channels, int in_h, int in_w, int out_h,
                                    int out_w, int kernel_h, int kernel_w, int stride_h, int stride_w) {
    ROW_LOOP(pixel, pixels, channels) {
        const int x = pixel % in_w, y = pixel / in_w % in_h, image = pixel / (in_w * in_h);
        float* __restrict__ total = grad + (long long)pixel * channels;
        COLUMN_LOOP(c, channels) total[c] = 0.0f;
        const int last_y = y / stride_h < out_h - 1 ? y / stride_h : out_h - 1;
        const int last_x = x / stride_w < out_w - 1 ? x / stride_w : out_w - 1;
        const int first_y = y < kernel_h ? 0 : (y - kernel_h) / stride_h + 1;
        const int first_x = x < kernel_w ? 0 : (x - kernel_w) / stride_w + 1;
        for (int out_y = first_y; out_y <= last_y; ++out_y) {
            for (int out_x = first_x; out_x <= last_x; ++out_x) {
                const int position = (y - out_y * stride_h) * kernel_w + x - out_x * stride_w;
                const long long window = ((long long)(image * out_h + out_y) * out_w + out_x) * channels;
                COLUMN_LOOP(c, channels) {
                    total[c] += winner[window + c] == position ? grad_pooled[window + c] : 0.0f;
                }
            }
        }
    }
}
