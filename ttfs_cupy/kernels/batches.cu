// A batch of images, from its place in an epoch's order to the network's input. pixels: bytes (any, height, width,
// channels), of a whole set or of a batch. progress is {place in the order, epoch}. Called by data/production.py.

// The number travels with the launch: nothing on the host has to outlive it.
KERNEL void begin_epoch(int* __restrict__ progress, int epoch, int n) {
    GRID_LOOP(only, n) {
        progress[0] = 0;
        progress[1] = epoch;
    }
}

KERNEL void end_batch(int* __restrict__ progress, int count, int n) { GRID_LOOP(only, n) progress[0] += count; }

// Which images a batch consists of: those at its place in the order, and then, unless partners is null, theirs.
KERNEL void take_images(const int* __restrict__ order, const int* __restrict__ occurrences,
                        const int* __restrict__ OPTIONAL partners, const int* __restrict__ labels,
                        const int* __restrict__ progress, int count, int* __restrict__ images,
                        int* __restrict__ times, int* __restrict__ taken_labels, int n) {
    GRID_LOOP(i, n) {
        const int place = i < count ? progress[0] + i : partners[progress[0] + i - count];
        images[i] = order[place];
        times[i] = occurrences[place];
        taken_labels[i] = labels[order[place]];
    }
}

// A run of moves: shifts and mirrors by whole pixels, and fills, of which a launch does so many at most; how each has moved a
// row's columns is kept.
#define MOST_MOVES 8

// Writes bytes as they are.
struct AsBytes {
    unsigned char* __restrict__ to;
    DEVICE_MEMBER void put(int index, int, unsigned char pixel) const { to[index] = pixel; }
};

// Writes what a code makes of them: float (channels, 256).
struct AsCode {
    float* __restrict__ to;
    const float* __restrict__ code;
    DEVICE_MEMBER void put(int index, int channel, unsigned char pixel) const { to[index] = code[channel * 256 + pixel]; }
};

// Columns x of a row with low <= step x + shift < high, from first to before last.
struct Part {
    int first, last;
};
DEVICE Part part_of(int step, int shift, int low, int high, int width) {
    const int first = step > 0 ? low - shift : shift - high + 1, last = step > 0 ? high - shift : shift - low + 1;
    return {first > 0 ? first : 0, last < width ? last : width};
}

template <int CHANNELS, typename Row>
DEVICE void fill_part(const Row& row, int first, int last, int fill, int width, int channels, int element_) {
    const int depth = CHANNELS ? CHANNELS : channels;
    PART_LOOP(x, first, last, width) {
        for (int c = 0; c < depth; ++c) row.put(x * depth + c, c, fill_of(fill, c));
    }
}

// Row y of an image after so many moves. CHANNELS: how many, 0 for any.
template <int CHANNELS, typename Row>
DEVICE void paint_row(const unsigned char* __restrict__ image, const int* __restrict__ moves, int count, int y,
                      const Row& row, int height, int width, int channels, int element_) {
    const int depth = CHANNELS ? CHANNELS : channels;
    // of this row, before the move of that number: where its columns were, and in which row
    int steps[MOST_MOVES + 1], shifts[MOST_MOVES + 1], rows[MOST_MOVES + 1];
    steps[count] = 1, shifts[count] = 0, rows[count] = y;
    int first = count;
    bool is_inside = true;
    while (first > 0 && is_inside) {
        const int* __restrict__ const move = moves + (first - 1) * WORDS;
        int step = steps[first], shift = shifts[first], above = rows[first];
        if (move[0] == AFFINE) {
            step *= move[1] >> 16;
            shift = shift * (move[1] >> 16) + (move[3] >> 16);
            above = above * (move[5] >> 16) + (move[6] >> 16);
            is_inside = above >= 0 && above < height;
        }
        --first;
        steps[first] = step, shifts[first] = shift, rows[first] = above;
    }
    if (is_inside) {
        const unsigned char* __restrict__ const from = image + (long long)rows[0] * width * depth;
        const int step = steps[0] * depth, shift = shifts[0] * depth;
        const Part seen = part_of(steps[0], shifts[0], 0, width, width);
        if (step == depth) {
            PART_LOOP(x, seen.first, seen.last, width) {
                for (int c = 0; c < depth; ++c) row.put(x * depth + c, c, from[x * depth + shift + c]);
            }
        } else {
            PART_LOOP(x, seen.first, seen.last, width) {
                for (int c = 0; c < depth; ++c) row.put(x * depth + c, c, from[x * step + shift + c]);
            }
        }
    }
    // in their order, so that what comes later lies over it
    for (int number = first; number < count; ++number) {
        const int* __restrict__ const move = moves + number * WORDS;
        if (move[0] == AFFINE) {
            const bool is_there = rows[number] >= 0 && rows[number] < height;
            const Part seen = part_of(steps[number], shifts[number], 0, width, width);
            const int begin = is_there ? seen.first : width, end = is_there ? seen.last : width;
            fill_part<CHANNELS>(row, 0, begin < width ? begin : width, move[7], width, channels, element_);
            fill_part<CHANNELS>(row, end > 0 ? end : 0, width, move[7], width, channels, element_);
        } else if (move[0] == FILL && rows[number] >= move[1] && rows[number] < move[2]) {
            const Part hole = part_of(steps[number], shifts[number], move[3], move[4], width);
            fill_part<CHANNELS>(row, hole.first, hole.last, move[7], width, channels, element_);
        }
    }
}

template <typename Row>
DEVICE void paint(const unsigned char* __restrict__ image, const int* __restrict__ moves, int count, int y,
                  const Row& row, int height, int width, int channels, int element_) {
    if (channels == 1) {
        paint_row<1>(image, moves, count, y, row, height, width, channels, element_);
    } else if (channels == 3) {
        paint_row<3>(image, moves, count, y, row, height, width, channels, element_);
    } else {
        paint_row<0>(image, moves, count, y, row, height, width, channels, element_);
    }
}

// Row `row` of a batch's images after the moves of slots first to before last. images: which ones of pixels; null:
// pixels are these. to: where the row's values go.
template <typename Row>
DEVICE void paint_moved(const unsigned char* __restrict__ pixels, const int* __restrict__ images,
                        const int* __restrict__ instructions, int slots, int first, int last, int row, const Row& to,
                        int height, int width, int channels, int element_) {
    const int number = row / height;
    const long long image = images ? images[number] : number;
    const int* __restrict__ const moves = instructions + ((long long)number * slots + first) * WORDS;
    paint(pixels + image * height * width * channels, moves, last - first, row % height, to, height, width, channels,
          element_);
}

KERNEL void move_pixels(const unsigned char* __restrict__ pixels, const int* __restrict__ OPTIONAL images,
                        const int* __restrict__ OPTIONAL instructions, int slots, int first, int last,
                        unsigned char* __restrict__ moved, int count, int height, int width, int channels) {
    ROW_LOOP(row, count * height, width) {
        const AsBytes to = {moved + (long long)row * width * channels};
        paint_moved(pixels, images, instructions, slots, first, last, row, to, height, width, channels, HERE);
    }
}

// The same, as the network's input. code: what a pixel of each channel becomes, float (channels, 256).
KERNEL void encode_pixels(const unsigned char* __restrict__ pixels, const int* __restrict__ OPTIONAL images,
                          const int* __restrict__ OPTIONAL instructions, int slots, int first, int last,
                          const float* __restrict__ code, float* __restrict__ inputs, int count, int height, int width,
                          int channels) {
    ROW_LOOP(row, count * height, width) {
        const AsCode to = {inputs + (long long)row * width * channels, code};
        paint_moved(pixels, images, instructions, slots, first, last, row, to, height, width, channels, HERE);
    }
}

// Mixes count encoded images with their partners behind them, in place (draws.cu, draw_mixtures). Between two values
// there is nothing beyond either: of two silent pixels comes a silent one, of pixels in the window one in the window.
// What is all its own stays as it is, which a sum of rounded numbers would not see to.
KERNEL void mix_inputs(float* __restrict__ inputs, const float* __restrict__ weights, const int* __restrict__ boxes,
                       int count, int height, int width, int channels) {
    ROW_LOOP(pixel, count * height * width, channels) {
        const int number = pixel / (height * width), y = pixel / width % height, x = pixel % width;
        const int* __restrict__ const box = boxes + number * 4;
        const bool is_cut = y >= box[0] && y < box[1] && x >= box[2] && x < box[3];
        const float weight = is_cut ? 0.0f : weights[number];
        float* __restrict__ const own = inputs + (long long)pixel * channels;
        const float* __restrict__ const other = own + (long long)count * height * width * channels;
        COLUMN_LOOP(c, channels) {
            const float low = at_most(own[c], other[c]), high = at_least(own[c], other[c]);
            // a double holds the product exactly, so it matters not whether it is fused with the sum
            const float between = (float)(other[c] + (double)weight * (own[c] - other[c]));
            own[c] = weight == 1.0f ? own[c] : at_least(at_most(between, high), low);
        }
    }
}
