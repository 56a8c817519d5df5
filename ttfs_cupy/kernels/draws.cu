// What chance does to the images of a batch: an instruction for each slot of an augmentation, and what is mixed with
// what. Random numbers are those of philox.h. progress is {place in the epoch's order, epoch}. Called by data/production.py.

// Of torchvision's random erasing: how often a rectangle that is too long is drawn anew.
#define ATTEMPTS 10
#define HALF 32768

// A shift by whole pixels, or a mirror where a step is -1.
DEVICE void set_move(int* __restrict__ out, int step_x, int shift_x, int step_y, int shift_y, int fill) {
    out[0] = AFFINE;
    out[1] = step_x * 65536;
    out[3] = shift_x * 65536 + HALF;
    out[5] = step_y * 65536;
    out[6] = shift_y * 65536 + HALF;
    out[7] = fill;
}

DEVICE void set_fill(int* __restrict__ out, int top, int bottom, int left, int right, int fill) {
    out[0] = FILL;
    out[1] = top > 0 ? top : 0;
    out[2] = bottom;
    out[3] = left > 0 ? left : 0;
    out[4] = right;
    out[7] = fill;
}

// images and occurrences: whose, for each row of the batch; instructions: int (rows, slots, 8).
KERNEL void draw_instructions(const int* __restrict__ images, const int* __restrict__ occurrences,
                              const int* __restrict__ progress, long long seed, const int* __restrict__ program,
                              const int* __restrict__ OPTIONAL choices, int slots, int height, int width,
                              int* __restrict__ instructions, int n) {
    GRID_LOOP(i, n) {
        const int row = i / slots, slot = i % slots;
        const int image = images[row], occurrence = occurrences[row], epoch = progress[1];
        const int* __restrict__ const how = program + slot * WORDS;
        int* __restrict__ const out = instructions + (long long)i * WORDS;
        for (int word = 0; word < WORDS; ++word) out[word] = 0;
        const Words drawn = philox(image, epoch, occurrence, slot * BLOCKS_OF_A_SLOT, seed);
        if (how[0] == SHIFT) {
            set_move(out, 1, drawn.below(1, 2 * how[2] + 1) - how[2], 1, drawn.below(0, 2 * how[1] + 1) - how[1], how[3]);
        } else if (how[0] == MIRROR) {
            if (!drawn.chance(0, how[1])) continue;
            if (how[2] == 0) {
                set_move(out, -1, width - 1, 1, 0, 0);
            } else {
                set_move(out, 1, 0, -1, height - 1, 0);
            }
        } else if (how[0] == HOLE) {
            const int top = drawn.below(0, height) - how[1] / 2, left = drawn.below(1, width) - how[2] / 2;
            set_fill(out, top, top + how[1] < height ? top + how[1] : height, left,
                     left + how[2] < width ? left + how[2] : width, how[3]);
        } else if (how[0] == ERASE) {
            if (!drawn.chance(0, how[1])) continue;
            for (int attempt = 0; attempt < ATTEMPTS; ++attempt) {
                const Words again = philox(image, epoch, occurrence, slot * BLOCKS_OF_A_SLOT + 1 + attempt, seed);
                const double least = float_of(how[2]), flattest = float_of(how[4]);
                const double share = least + rounded_product(float_of(how[3]) - least, again.unit(0));
                const double ratio = exp(flattest + rounded_product(float_of(how[5]) - flattest, again.unit(1)));
                const double area = (double)height * width * share;
                const int tall = (int)rint(sqrt(area * ratio)), wide = (int)rint(sqrt(area / ratio));
                if (tall >= height || wide >= width) continue;
                const int top = again.below(2, height - tall + 1), left = again.below(3, width - wide + 1);
                set_fill(out, top, top + tall, left, left + wide, how[6]);
                break;
            }
        } else {
            const Words chooser = philox(image, epoch, occurrence, how[3] * BLOCKS_OF_A_SLOT, seed);
            const int* __restrict__ const row_of = choices + (how[1] + chooser.below(0, how[2])) * (1 + 2 * WORDS);
            if (!drawn.chance(1, row_of[0])) continue;
            const int* __restrict__ const chosen = row_of + 1 + (drawn.word[2] >> 31) * WORDS;
            for (int word = 0; word < WORDS; ++word) out[word] = chosen[word];
        }
    }
}

// The place in its epoch's order of each image's partner, anywhere in it.
KERNEL void draw_partners(const int* __restrict__ order, const int* __restrict__ occurrences,
                          const int* __restrict__ progress, long long seed, int* __restrict__ partners, int n) {
    GRID_LOOP(i, n) partners[i] = philox(order[i], progress[1], occurrences[i], PARTNER_BLOCK, seed).below(0, n);
}

// The logarithm of a number of the Gamma distribution, of shape alpha (Marsaglia and Tsang 2000, with the power of a
// uniform number for alpha below 1). Each try takes a block, of which nearly every one is the first.
DEVICE double log_gamma(int image, int epoch, int occurrence, int block, long long seed, double alpha) {
    const double shape = alpha < 1 ? alpha + 1 : alpha, d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    double found = log(d);
    for (int attempt = 0; attempt < BLOCKS_OF_A_SLOT; ++attempt) {
        const Words drawn = philox(image, epoch, occurrence, block + 1 + attempt, seed);
        const double normal = sqrt(-2 * log(1 - drawn.unit(0))) * cos(6.283185307179586 * drawn.unit(1));
        const double root = 1 + c * normal, cube = root * root * root;
        if (root > 0 && log(1 - drawn.unit(2)) < 0.5 * normal * normal + d - d * cube + d * log(cube)) {
            found = log(d * cube);
            break;
        }
    }
    if (alpha >= 1) return found;
    return found + log(1 - philox(image, epoch, occurrence, block, seed).unit(0)) / alpha;
}

// How each image is mixed with its partner: shares, how much of its label is its own; weights, how much of a pixel
// outside of its box, which is the partner's: int (n, 4), from row to row, from column to column.
// cut: 0 mixup, 1 CutMix, 2 either, at even odds.
KERNEL void draw_mixtures(const int* __restrict__ images, const int* __restrict__ occurrences,
                          const int* __restrict__ progress, long long seed, float alpha, int cut, int height, int width,
                          float* __restrict__ shares, float* __restrict__ weights, int* __restrict__ boxes, int n) {
    GRID_LOOP(i, n) {
        const int image = images[i], occurrence = occurrences[i], epoch = progress[1];
        const double own = log_gamma(image, epoch, occurrence, MIXTURE_BLOCK + BLOCKS_OF_A_SLOT * 2, seed, alpha);
        const double others = log_gamma(image, epoch, occurrence, MIXTURE_BLOCK + BLOCKS_OF_A_SLOT * 4, seed, alpha);
        const float share = (float)(1 / (1 + exp(others - own)));
        const Words drawn = philox(image, epoch, occurrence, MIXTURE_BLOCK, seed);
        int* __restrict__ const box = boxes + i * 4;
        for (int edge = 0; edge < 4; ++edge) box[edge] = 0;
        shares[i] = weights[i] = share;
        if (cut == 0 || (cut == 2 && drawn.word[2] >> 31)) continue;
        const double side = sqrt(1 - (double)share);
        const int tall = (int)(height * side) / 2, wide = (int)(width * side) / 2;
        const int y = drawn.below(0, height), x = drawn.below(1, width);
        box[0] = y > tall ? y - tall : 0;
        box[1] = y + tall < height ? y + tall : height;
        box[2] = x > wide ? x - wide : 0;
        box[3] = x + wide < width ? x + wide : width;
        weights[i] = 1.0f;
        shares[i] = 1.0f - (float)((box[1] - box[0]) * (box[3] - box[2])) / (float)(height * width);
    }
}
