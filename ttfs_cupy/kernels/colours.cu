// One slot of an augmentation that is no move, for images (count, height, width, channels) of bytes: as Pillow computes
// it, to the grey level. Called by data/production.py.

// (1 - factor) of a plain image and factor of the image, as Pillow's ImagingBlend: in float32, cut off. Doubles hold
// the exact product and sum, which are rounded where float32 would be.
DEVICE unsigned char blend(int plain, int pixel, float factor) {
    const float product = (float)((double)factor * (pixel - plain));
    const float sum = (float)((double)product + plain);
    return (unsigned char)(sum <= 0.0f ? 0 : sum >= 255.0f ? 255 : (int)sum);
}

DEVICE int luma(const unsigned char* __restrict__ pixel) {
    return (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16;
}

// What an operation needs to know of an image and channel, part by part, int (count, channels, parts, 256): of CONTRAST
// the sum of its levels in grey; of AUTO_CONTRAST the lowest and the highest level; of EQUALIZE how often each comes.
// These are whole numbers, so a table does not depend on the parts. For other operations nothing is written.
KERNEL void measure_levels(const unsigned char* __restrict__ pixels, const int* __restrict__ instructions, int slots,
                           int slot, int* __restrict__ levels, int size, int channels, int parts, int n) {
    GRID_LOOP(i, n) {
        const int part = i % parts, channel = i / parts % channels, number = i / parts / channels;
        const unsigned char* __restrict__ const image = pixels + (long long)number * size * channels;
        const int operation = instructions[((long long)number * slots + slot) * WORDS];
        const int first = part_start(size, part, parts), last = part_start(size, part + 1, parts);
        int* __restrict__ const found = levels + (long long)i * 256;
        if (operation == CONTRAST) {
            int sum = 0;
            if (channels == 1) {
                for (int place = first; place < last; ++place) sum += image[place];
            } else {
                for (int place = first; place < last; ++place) sum += luma(image + place * channels);
            }
            found[0] = sum;
        } else if (operation == AUTO_CONTRAST) {
            int low = 255, high = 0;
            for (int place = first; place < last; ++place) {
                const int level = image[place * channels + channel];
                low = level < low ? level : low;
                high = level > high ? level : high;
            }
            found[0] = low;
            found[1] = high;
        } else if (operation == EQUALIZE) {
            int counts[256];
            for (int level = 0; level < 256; ++level) counts[level] = 0;
            for (int place = first; place < last; ++place) ++counts[image[place * channels + channel]];
            for (int level = 0; level < 256; ++level) found[level] = counts[level];
        }
    }
}

// The mean of an image in grey, rounded.
DEVICE int mean_luma(const int* __restrict__ levels, int size, int parts) {
    long long sum = 0;
    for (int part = 0; part < parts; ++part) sum += levels[part * 256];
    return (int)((2 * sum + size) / (2 * size));
}

// ImageOps.autocontrast, without a cutoff.
DEVICE void stretch(const int* __restrict__ levels, int parts, unsigned char* __restrict__ table) {
    int low = 255, high = 0;
    for (int part = 0; part < parts; ++part) {
        const int lowest = levels[part * 256], highest = levels[part * 256 + 1];
        low = lowest < low ? lowest : low;
        high = highest > high ? highest : high;
    }
    const double scale = high > low ? 255.0 / (high - low) : 1.0;
    const double offset = high > low ? -rounded_product(low, scale) : 0.0;
    for (int value = 0; value < 256; ++value) {
        const int stretched = (int)(rounded_product(value, scale) + offset);
        table[value] = (unsigned char)(stretched < 0 ? 0 : stretched > 255 ? 255 : stretched);
    }
}

DEVICE int count_of(const int* __restrict__ levels, int level, int parts) {
    int count = 0;
    for (int part = 0; part < parts; ++part) count += levels[part * 256 + level];
    return count;
}

// ImageOps.equalize.
DEVICE void equalize(const int* __restrict__ levels, int size, int parts, unsigned char* __restrict__ table) {
    int high = 255;
    while (high > 0 && count_of(levels, high, parts) == 0) --high;
    // of one level alone the step is 0
    const int step = (size - count_of(levels, high, parts)) / 255;
    int sum = step / 2;
    for (int value = 0; value < 256; ++value) {
        const int level = step ? sum / step : value;
        table[value] = (unsigned char)(level > 255 ? 255 : level);
        sum += count_of(levels, value, parts);
    }
}

// What a pixel of each image and channel becomes, bytes (count, channels, 256), for operations that go pixel by pixel.
// levels: those of `measure_levels`.
KERNEL void tabulate(const int* __restrict__ instructions, int slots, int slot, const int* __restrict__ levels,
                     unsigned char* __restrict__ tables, int size, int channels, int parts, int n) {
    GRID_LOOP(i, n) {
        const int* __restrict__ const instruction = instructions + ((long long)(i / channels) * slots + slot) * WORDS;
        const int* __restrict__ const measured = levels + (long long)i * parts * 256;
        unsigned char* __restrict__ const table = tables + (long long)i * 256;
        const int operation = instruction[0], a = instruction[1];
        if (operation == BRIGHTNESS || operation == CONTRAST) {
            const int plain = operation == CONTRAST ? mean_luma(measured, size, parts) : 0;
            for (int value = 0; value < 256; ++value) table[value] = blend(plain, value, float_of(a));
        } else if (operation == POSTERIZE) {
            const int mask = 256 - (256 >> a);
            for (int value = 0; value < 256; ++value) table[value] = (unsigned char)(value & mask);
        } else if (operation == SOLARIZE) {
            for (int value = 0; value < 256; ++value) table[value] = (unsigned char)(value < a ? value : 255 - value);
        } else if (operation == AUTO_CONTRAST) {
            stretch(measured, parts, table);
        } else if (operation == EQUALIZE) {
            equalize(measured, size, parts, table);
        } else if (operation == INVERT) {
            for (int value = 0; value < 256; ++value) table[value] = (unsigned char)(255 - value);
        }
    }
}

// A 3x3 mean with a heavy centre, rounded: Pillow's SMOOTH. The border stays.
DEVICE int smooth(const unsigned char* __restrict__ pixel, int across, int down) {
    int sum = 4 * pixel[0];
    for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) sum += pixel[dy * down + dx * across];
    }
    return (2 * sum + 13) / 26;
}

template <int CHANNELS>
DEVICE void change_row(const unsigned char* __restrict__ image, const int* __restrict__ instruction,
                       const unsigned char* __restrict__ table, unsigned char* __restrict__ to, int y, int height,
                       int width, int channels, int element_) {
    const int depth = CHANNELS ? CHANNELS : channels, operation = instruction[0], a = instruction[1];
    const unsigned char* __restrict__ const from = image + (long long)y * width * depth;
    if (operation == AFFINE) {
        const int u = instruction[2] * y + instruction[3], v = instruction[5] * y + instruction[6];
        COLUMN_LOOP(x, width) {
            const int column = (a * x + u) >> 16, row = (instruction[4] * x + v) >> 16;
            const bool is_inside = column >= 0 && column < width && row >= 0 && row < height;
            const int place = is_inside ? (row * width + column) * depth : 0;
            for (int c = 0; c < depth; ++c) {
                to[x * depth + c] = is_inside ? image[place + c] : fill_of(instruction[7], c);
            }
        }
    } else if (operation == SHARPNESS) {
        const bool is_border = y == 0 || y == height - 1;
        COLUMN_LOOP(x, width) {
            for (int c = 0; c < depth; ++c) {
                const unsigned char* __restrict__ const pixel = from + x * depth + c;
                const bool stays = is_border || x == 0 || x == width - 1;
                to[x * depth + c] = stays ? *pixel : blend(smooth(pixel, depth, width * depth), *pixel, float_of(a));
            }
        }
    } else if (operation == COLOR && depth == 3) {
        COLUMN_LOOP(x, width) {
            const int plain = luma(from + x * 3);
            for (int c = 0; c < 3; ++c) to[x * 3 + c] = blend(plain, from[x * 3 + c], float_of(a));
        }
    } else if (operation == KEEP || operation == COLOR) {
        COLUMN_LOOP(x, width) {
            for (int c = 0; c < depth; ++c) to[x * depth + c] = from[x * depth + c];
        }
    } else {
        COLUMN_LOOP(x, width) {
            for (int c = 0; c < depth; ++c) to[x * depth + c] = table[c * 256 + from[x * depth + c]];
        }
    }
}

// tables: those of `tabulate`.
KERNEL void change_pixels(const unsigned char* __restrict__ pixels, const int* __restrict__ instructions, int slots,
                          int slot, const unsigned char* __restrict__ tables, unsigned char* __restrict__ changed,
                          int count, int height, int width, int channels) {
    ROW_LOOP(row, count * height, width) {
        const int number = row / height, y = row % height;
        const long long size = (long long)height * width * channels;
        const unsigned char* __restrict__ const image = pixels + number * size;
        const int* __restrict__ const instruction = instructions + ((long long)number * slots + slot) * WORDS;
        const unsigned char* __restrict__ const table = tables + (long long)number * channels * 256;
        unsigned char* __restrict__ const to = changed + number * size + (long long)y * width * channels;
        if (channels == 3) {
            change_row<3>(image, instruction, table, to, y, height, width, channels, HERE);
        } else {
            change_row<0>(image, instruction, table, to, y, height, width, channels, HERE);
        }
    }
}
