// One slot of an augmentation that is no move, for images (count, height, width, channels) of bytes: as Pillow computes
// it, to the grey level. Called by data/batches/.

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

// The mean of an image in grey, rounded.
DEVICE int mean_luma(const unsigned char* __restrict__ image, int size, int channels) {
    long long sum = 0;
    if (channels == 1) {
        for (int i = 0; i < size; ++i) sum += image[i];
    } else {
        for (int i = 0; i < size; ++i) sum += luma(image + i * channels);
    }
    return (int)((2 * sum + size) / (2 * size));
}

// ImageOps.autocontrast, without a cutoff.
DEVICE void stretch(const unsigned char* __restrict__ plane, int size, int channels, unsigned char* __restrict__ table) {
    int low = 255, high = 0;
    for (int i = 0; i < size; ++i) {
        const int pixel = plane[i * channels];
        low = pixel < low ? pixel : low;
        high = pixel > high ? pixel : high;
    }
    const double scale = high > low ? 255.0 / (high - low) : 1.0;
    const double offset = high > low ? -rounded_product(low, scale) : 0.0;
    for (int value = 0; value < 256; ++value) {
        const int stretched = (int)(rounded_product(value, scale) + offset);
        table[value] = (unsigned char)(stretched < 0 ? 0 : stretched > 255 ? 255 : stretched);
    }
}

// ImageOps.equalize.
DEVICE void equalize(const unsigned char* __restrict__ plane, int size, int channels, unsigned char* __restrict__ table) {
    int counts[256];
    for (int value = 0; value < 256; ++value) counts[value] = 0;
    int high = 0;
    for (int i = 0; i < size; ++i) {
        const int pixel = plane[i * channels];
        ++counts[pixel];
        high = pixel > high ? pixel : high;
    }
    const int step = counts[high] == size ? 0 : (size - counts[high]) / 255;
    int sum = step / 2;
    for (int value = 0; value < 256; ++value) {
        const int level = step ? sum / step : value;
        table[value] = (unsigned char)(level > 255 ? 255 : level);
        sum += counts[value];
    }
}

// What a pixel of each image and channel becomes, bytes (count, channels, 256), for operations that go pixel by pixel.
KERNEL void tabulate(const unsigned char* __restrict__ pixels, const int* __restrict__ instructions, int slots, int slot,
                     unsigned char* __restrict__ tables, int size, int channels, int n) {
    GRID_LOOP(i, n) {
        const int number = i / channels;
        const unsigned char* __restrict__ const image = pixels + (long long)number * size * channels;
        const unsigned char* __restrict__ const plane = image + i % channels;
        const int* __restrict__ const instruction = instructions + ((long long)number * slots + slot) * WORDS;
        unsigned char* __restrict__ const table = tables + (long long)i * 256;
        const int operation = instruction[0], a = instruction[1];
        if (operation == BRIGHTNESS || operation == CONTRAST) {
            const int plain = operation == CONTRAST ? mean_luma(image, size, channels) : 0;
            for (int value = 0; value < 256; ++value) table[value] = blend(plain, value, float_of(a));
        } else if (operation == POSTERIZE) {
            const int mask = 256 - (256 >> a);
            for (int value = 0; value < 256; ++value) table[value] = (unsigned char)(value & mask);
        } else if (operation == SOLARIZE) {
            for (int value = 0; value < 256; ++value) table[value] = (unsigned char)(value < a ? value : 255 - value);
        } else if (operation == AUTO_CONTRAST) {
            stretch(plane, size, channels, table);
        } else if (operation == EQUALIZE) {
            equalize(plane, size, channels, table);
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
        PART_LOOP(x, 0, width, width) {
            const int column = (a * x + u) >> 16, row = (instruction[4] * x + v) >> 16;
            const bool is_inside = column >= 0 && column < width && row >= 0 && row < height;
            const int place = is_inside ? (row * width + column) * depth : 0;
            for (int c = 0; c < depth; ++c) {
                to[x * depth + c] = is_inside ? image[place + c] : fill_of(instruction[7], c);
            }
        }
    } else if (operation == SHARPNESS) {
        const bool is_border = y == 0 || y == height - 1;
        PART_LOOP(x, 0, width, width) {
            for (int c = 0; c < depth; ++c) {
                const unsigned char* __restrict__ const pixel = from + x * depth + c;
                const bool stays = is_border || x == 0 || x == width - 1;
                to[x * depth + c] = stays ? *pixel : blend(smooth(pixel, depth, width * depth), *pixel, float_of(a));
            }
        }
    } else if (operation == COLOR && depth == 3) {
        PART_LOOP(x, 0, width, width) {
            const int plain = luma(from + x * 3);
            for (int c = 0; c < 3; ++c) to[x * 3 + c] = blend(plain, from[x * 3 + c], float_of(a));
        }
    } else if (operation == KEEP || operation == COLOR) {
        PART_LOOP(x, 0, width, width) {
            for (int c = 0; c < depth; ++c) to[x * depth + c] = from[x * depth + c];
        }
    } else {
        PART_LOOP(x, 0, width, width) {
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
