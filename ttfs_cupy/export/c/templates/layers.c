/* Runs each layer by itself. For each image it reads pixels, and writes their code; then, layer by layer, it reads an
 * input, and writes what the layer makes of it: of a convolution every neuron's spike, and what is left behind the
 * pooling. Then all layers, one after the other, have to give what the network's function does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network_float32.c"

static uint8_t pixels[TTFS_PIXELS];
static float inputs[@largest], outputs[@largest];

static void receive(void *values, size_t size, size_t count)
{
    if (fread(values, size, count, stdin) != count) exit(ferror(stdin) ? 1 : 0);
}

static void send(size_t count)
{
    if (fwrite(outputs, sizeof *outputs, count, stdout) != count) exit(1);
}

//if convolution
static Convolution unpooled(Convolution layer)
{
    layer.out_height = (layer.height + 2 * layer.padding_y - layer.kernel_height) / layer.stride_y + 1;
    layer.out_width = (layer.width + 2 * layer.padding_x - layer.kernel_width) / layer.stride_x + 1;
    layer.pool_height = layer.pool_width = layer.pool_stride_y = layer.pool_stride_x = 1;
    return layer;
}

//end
static void compare_whole(void)
{
    float potentials[TTFS_CLASSES], one_by_one[TTFS_CLASSES];

    ttfs_predict_float32(pixels, potentials);
    encode(pixels, inputs);
@chain
    if (memcmp(potentials, one_by_one, sizeof potentials) != 0) {
        fprintf(stderr, "error: its layers one by one give other potentials than ttfs_predict_float32\n");
        exit(1);
    }
}

int main(void)
{
@unpooled
    for (;;) {
        receive(pixels, sizeof *pixels, TTFS_PIXELS);
        encode(pixels, outputs);
        send(TTFS_PIXELS);
@stages
        compare_whole();
    }
}
