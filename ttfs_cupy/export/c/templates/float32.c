/* A spiking network with time-to-first-spike coding, in float32.
 * ttfs_cupy @version wrote it from @source.
 *
@memory
 *
 * Every neuron spikes once at most. Layers have windows of length T for their spikes, one after the other; a spike at
 * time t of its window is held as its earliness T - t, so a large value is an early spike, and 0 is silence.
 * Images are held row by row, the channels of a pixel side by side.
 */
#include "network.h"

#define T @t_win /* the length of a window */
//if sloped
#define PSP_SLOPE @slope /* by how much of its weight sum a potential grows in its window */
//end

//if convolution
/* A convolution of spiking neurons, and behind it the pooling of windows that do not overlap; 1 x 1 is none. */
typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t neurons;                 /* channels of the output */
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x;
    int32_t padding_y, padding_x;
    int32_t pool_height, pool_width;
    int32_t pool_stride_y, pool_stride_x;
    int32_t out_height, out_width; /* behind the pooling */
//if slopes
    float slope; /* PSP_SLOPE, but 0 where pixels are turned into spikes */
//end
    const float *weights; /* neuron by neuron: kernel row, kernel column, channel */
//if potential
    const float *potential; /* what each neuron begins with */
//end
} Convolution;

//end
//if pool
/* A pooling by itself. */
typedef struct {
    int32_t height, width, channels; /* of the input */
    int32_t pool_height, pool_width;
    int32_t pool_stride_y, pool_stride_x;
    int32_t out_height, out_width;
} Pool;

//end
/* A full connection. */
typedef struct {
    int32_t inputs, neurons;
    const float *weights; /* neuron by neuron */
//if potential
    const float *potential; /* what each neuron begins with */
//end
} Linear;

/* What a neuron's inputs add up to. */
typedef struct {
    float drive; /* sum of weight x earliness: the potential as the window opens */
//if sloped
    float weight_sum; /* sum of the weights of the inputs that spiked */
//end
} Sums;

/* ---- The network ---- */

@layers
/* ---- What computes it ---- */

/* Adds inputs that lie side by side. */
static void add(Sums *sums, const float *weights, const float *inputs, int32_t count)
{
    float drive = 0.0f;
//if sloped
    float weight_sum = 0.0f;
//end

    for (int32_t i = 0; i < count; i++) {
        drive += weights[i] * inputs[i];
//if sloped
        weight_sum += inputs[i] != 0.0f ? weights[i] : 0.0f;
//end
    }
    sums->drive += drive;
//if sloped
    sums->weight_sum += weight_sum;
//end
}

//if any_fires
//if sloped
/* The earliness of a spike, at the first moment u of the window in which the potential meets the falling threshold:
 * drive + PSP_SLOPE weight_sum u = T - u. At once if drive is T already; 0 if they do not meet in the window. */
static float fire(Sums sums@slope_parameter)
{
    const float divisor = 1.0f + @slope_name * sums.weight_sum;
    const float reached = sums.drive + @slope_name * T * sums.weight_sum; /* the potential as the window closes */

    if (sums.drive >= T) return T;
    if (divisor <= 0.0f || reached <= 0.0f) return 0.0f;
    return reached / divisor < T ? reached / divisor : T;
}

//end
//if flat
/* The earliness of a spike, at the moment u of the window in which the threshold T - u falls to the potential. */
static float fire(Sums sums)
{
    if (sums.drive >= T) return T;
    return sums.drive > 0.0f ? sums.drive : 0.0f;
}

//end
//end
@convolutions
@pool
/* The sums of one neuron of a full connection. */
static Sums sums_of(const Linear *layer, const float *inputs, int32_t neuron)
{
    Sums sums = {0};

//if potential
    sums.drive = layer->potential[neuron];
//end
    add(&sums, layer->weights + neuron * layer->inputs, inputs, layer->inputs);
    return sums;
}

//if linear_fires
static void connect(const Linear *layer, const float *inputs, float *outputs)
{
    for (int32_t neuron = 0; neuron < layer->neurons; neuron++)
        outputs[neuron] = fire(sums_of(layer, inputs, neuron)@linear_slope);
}

//end
//if reads
/* Neurons that do not spike: their potentials as the window closes. */
static void read_out(const Linear *layer, const float *inputs, float *potentials)
{
    for (int32_t neuron = 0; neuron < layer->neurons; neuron++) {
        const Sums sums = sums_of(layer, inputs, neuron);
//if sloped
        potentials[neuron] = sums.drive + PSP_SLOPE * T * sums.weight_sum;
//end
//if flat
        potentials[neuron] = sums.drive;
//end
    }
}

//end
/* @encoding */
static void encode(const uint8_t *pixels, float *inputs)
{
//if standardized
    static const float mean[TTFS_CHANNELS] = {@mean}, deviation[TTFS_CHANNELS] = {@std};

//end
    for (int32_t i = 0; i < TTFS_PIXELS; i++) {
        const float pixel = (float)(@pixel) / (float)TTFS_MAXIMUM;
//if standardized
        inputs[i] = T * ((pixel - mean[i % TTFS_CHANNELS]) / deviation[i % TTFS_CHANNELS]);
//end
//if plain
        inputs[i] = T * pixel;
//end
    }
}

static int largest(const float *potentials)
{
    int best = 0;

    for (int i = 1; i < TTFS_CLASSES; i++)
        if (potentials[i] > potentials[best]) best = i;
    return best;
}

int ttfs_predict_float32(const uint8_t *pixels, float *potentials)
{
    /* From its two ends layers write in turn. */
    static float memory[@memory_size];
@places

    encode(pixels, image);
@calls
    return largest(potentials);
}
