/* The spike of one neuron of a convolution@of_pixels. What its kernel covers outside of the image is silent. */
static @spike neuron_at@suffix(const Convolution *layer, const @type *inputs, int32_t neuron, int32_t y, int32_t x)
{
    const int32_t row_size = layer->kernel_width * layer->channels;
    const @weight *weights = layer->weights + neuron * layer->kernel_height * row_size;
    const int32_t top = y * layer->stride_y - layer->padding_y;
    const int32_t left = x * layer->stride_x - layer->padding_x;
    /* the kernel's columns inside of the image, from `first` to before `end` */
    const int32_t first = left < 0 ? -left : 0;
    const int32_t end = layer->width - left < layer->kernel_width ? layer->width - left : layer->kernel_width;
    Sums sums = {0};

@initial
    for (int32_t row = 0; row < layer->kernel_height && first < end; row++) {
        if (top + row >= 0 && top + row < layer->height) {
            const int32_t pixel = (top + row) * layer->width + left + first;
            add@suffix(&sums, weights + row * row_size + first * layer->channels, inputs + pixel * layer->channels,
                (end - first) * layer->channels);
        }
    }
    return @fired;
}

/* Of each window of the pooling, the earliest spike. */
static void convolve@suffix(const Convolution *layer, const @type *inputs, @spike *outputs)
{
    for (int32_t y = 0; y < layer->out_height; y++) {
        for (int32_t x = 0; x < layer->out_width; x++) {
            for (int32_t neuron = 0; neuron < layer->neurons; neuron++) {
                @spike earliest = 0;
                for (int32_t i = 0; i < layer->pool_height; i++) {
                    for (int32_t j = 0; j < layer->pool_width; j++) {
                        const int32_t row = y * layer->pool_stride_y + i, column = x * layer->pool_stride_x + j;
                        const @spike spike = neuron_at@suffix(layer, inputs, neuron, row, column);
                        if (spike > earliest) earliest = spike;
                    }
                }
                *outputs++ = earliest;
            }
        }
    }
}
