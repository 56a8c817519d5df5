/* A spiking network with time-to-first-spike coding, in integers: weights of 8 bits, spike times in 255 steps.
 * ttfs_cupy @version wrote it from @source.
 *
@memory
 *
 * Every neuron spikes once at most. Layers have windows for their spikes, one after the other; a spike is held as its
 * earliness, the steps of 1/255 of the window that are left as it comes, so a large value is an early spike, and 0 is
 * silence. Images are held row by row, the channels of a pixel side by side.
 *
 * A weight is its 8 bits times a scale of its neuron's channel. No scale is computed with: each channel has a threshold
 * in units of its own, in which that scale is 1. Potentials are compared with it, and a spike's time is the quotient of
 * two of them, so that times need no unit.
 */
#include "network.h"

#define STEPS 255 /* of a spike time in its window */
//if fine
#define FINE @fine /* the unit of weight x earliness in potentials, which have fractions of it */
//end

/* @wide_reason */
typedef @wide_type wide_t;

/* How the neurons of a layer come to spike: the threshold of each channel as the window opens, in units of its
 * potentials. */
typedef struct {
    const int32_t *threshold;
//if potential
    const int32_t *initial; /* the potential that each begins with */
//end
//if sloped
    int32_t slope; /* by how much of its weight sum a potential grows in the window */
//end
} Rule;

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
    const int8_t *weights;         /* neuron by neuron: kernel row, kernel column, channel */
    Rule rule;
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
    const int8_t *weights; /* neuron by neuron */
    Rule rule;
} Linear;

/* What a neuron's inputs add up to. */
typedef struct {
    int32_t drive; /* sum of weight x earliness: the potential as the window opens */
//if sloped
    int32_t weight_sum; /* sum of the weights of the inputs that spiked */
//end
} Sums;

/* ---- The network ---- */

@layers
/* ---- What computes it ---- */

@adds
/* A neuron's potential as its window opens. */
//if potential
static wide_t potential_of(Sums sums, const Rule *rule, int32_t neuron)
{
    return @drive + rule->initial[neuron];
}

//end
//if no_potential
static wide_t potential_of(Sums sums)
{
    return @drive;
}

//end
//if any_fires
//if sloped
/* The earliness of a spike, at the first moment in which the potential, which grows in proportion to the time, meets
 * the threshold, which falls to 0 in the window. At once if it is as large already; 0 if they do not meet. Rounded to
 * the nearest of `steps`; but what spikes has one step at least, since its weights count in the next layer. */
static wide_t fire(Sums sums, const Rule *rule, int32_t neuron, wide_t steps)
{
    const wide_t threshold = rule->threshold[neuron];
    const wide_t potential = potential_of(sums@of_rule);
    const wide_t growth = (wide_t)rule->slope * sums.weight_sum;
    const wide_t reached = potential + growth; /* the potential as the window closes */
    const wide_t divisor = threshold + growth;
    wide_t earliness;

    if (potential >= threshold) return steps;
    if (divisor <= 0 || reached <= 0) return 0;
    earliness = (steps * reached + divisor / 2) / divisor;
    return earliness > 0 ? earliness : 1;
}

//end
//if flat
/* The earliness of a spike, as the threshold, which falls to 0 in the window, meets the potential; rounded to the
 * nearest of `steps`. */
static wide_t fire(Sums sums, const Rule *rule, int32_t neuron, wide_t steps)
{
    const wide_t threshold = rule->threshold[neuron];
    const wide_t potential = potential_of(sums@of_rule);

    if (potential >= threshold) return steps;
    if (potential <= 0) return 0;
    return (steps * potential + threshold / 2) / threshold;
}

//end
//end
@convolutions
@pool
/* The sums of one neuron of a full connection. */
static Sums sums_of(const Linear *layer, const uint8_t *inputs, int32_t neuron)
{
    Sums sums = {0};

    add(&sums, layer->weights + neuron * layer->inputs, inputs, layer->inputs);
    return sums;
}

//if hidden_linear
static void connect(const Linear *layer, const uint8_t *inputs, uint8_t *outputs)
{
    for (int32_t neuron = 0; neuron < layer->neurons; neuron++)
        outputs[neuron] = (uint8_t)fire(sums_of(layer, inputs, neuron), &layer->rule, neuron, STEPS);
}

//end
//if fires
/* The readout's spikes, whose times are told more finely, since they are compared. */
static void read_out(const Linear *layer, const uint8_t *inputs, int32_t *potentials)
{
    for (int32_t neuron = 0; neuron < layer->neurons; neuron++)
        potentials[neuron] = (int32_t)fire(sums_of(layer, inputs, neuron), &layer->rule, neuron, TTFS_INT8_ONE);
}

//end
//if reads
/* Neurons that do not spike: their potentials as the window closes, of all channels in the same unit. */
static void read_out(const Linear *layer, const uint8_t *inputs, int32_t *potentials)
{
    for (int32_t neuron = 0; neuron < layer->neurons; neuron++) {
        const Sums sums = sums_of(layer, inputs, neuron);
        const int64_t threshold = layer->rule.threshold[neuron];
//if sloped
        const int64_t growth = (int64_t)layer->rule.slope * sums.weight_sum;
        const int64_t scaled = (potential_of(sums@of_layer) + growth) * TTFS_INT8_ONE;
//end
//if flat
        const int64_t scaled = (int64_t)potential_of(sums@of_layer) * TTFS_INT8_ONE;
//end

        /* to the nearest; C divides towards 0 */
        potentials[neuron] = (int32_t)((scaled < 0 ? scaled - threshold / 2 : scaled + threshold / 2) / threshold);
    }
}

//end
//if coded
/* Standardised pixels as integers: a table, since there are no more than 256 of a channel. */
static void encode(const uint8_t *pixels, int16_t *inputs)
{
    static const int16_t code[TTFS_CHANNELS][TTFS_MAXIMUM + 1] = {
@code
    };

    for (int32_t i = 0; i < TTFS_PIXELS; i++)
        inputs[i] = code[i % TTFS_CHANNELS][@pixel];
}

//end
//if scaled
/* The brighter a pixel, the earlier its spike; a black one is silent. */
static void encode(const uint8_t *pixels, uint8_t *inputs)
{
    for (int32_t i = 0; i < TTFS_PIXELS; i++) {
        const int32_t pixel = @pixel;
        inputs[i] = (uint8_t)((pixel * STEPS + TTFS_MAXIMUM / 2) / TTFS_MAXIMUM);
    }
}

//end
static int largest(const int32_t *potentials)
{
    int best = 0;

    for (int i = 1; i < TTFS_CLASSES; i++)
        if (potentials[i] > potentials[best]) best = i;
    return best;
}

int ttfs_predict_int8(const uint8_t *pixels, int32_t *potentials)
{
    /* From its two ends layers write in turn. */
    static uint8_t memory[@memory_size];
@places

@calls
    return largest(potentials);
}
