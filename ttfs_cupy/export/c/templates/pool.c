static void pool(const Pool *layer, const @spike *inputs, @spike *outputs)
{
    for (int32_t y = 0; y < layer->out_height; y++) {
        for (int32_t x = 0; x < layer->out_width; x++) {
            for (int32_t channel = 0; channel < layer->channels; channel++) {
                @spike earliest = 0;
                for (int32_t i = 0; i < layer->pool_height; i++) {
                    for (int32_t j = 0; j < layer->pool_width; j++) {
                        const int32_t row = y * layer->pool_stride_y + i, column = x * layer->pool_stride_x + j;
                        const @spike spike = inputs[(row * layer->width + column) * layer->channels + channel];
                        if (spike > earliest) earliest = spike;
                    }
                }
                *outputs++ = earliest;
            }
        }
    }
}
