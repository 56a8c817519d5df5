// What is done to an image (data/augmentation/program.py): int[8], {operation, a, b, c, d, e, f, fill}.
#define WORDS 8

enum Operation {
    KEEP,
    AFFINE,        // result(y, x) = image(v >> 16, u >> 16), u = a x + b y + c, v = d x + e y + f; fill outside of it
    FILL,          // rows from a to before b, columns from c to before d, become fill
    BRIGHTNESS,    // these four: a holds the bits of a float, the factor
    COLOR,
    CONTRAST,
    SHARPNESS,
    POSTERIZE,     // a bits are kept
    SOLARIZE,      // pixels from a on are inverted
    AUTO_CONTRAST,
    EQUALIZE,
    INVERT
};

// How an instruction is drawn: int[8] a slot, {how, ...}; what follows each name is its other words
enum How {
    SHIFT,         // top, left, fill
    MIRROR,        // threshold, axis: 0 for left and right, 1 for top and bottom
    HOLE,          // height, width, fill
    ERASE,         // threshold, area from, to, log ratio from, to (bits of floats), fill
    CHOICE         // first row of the choices, how many, the slot that chooses among them
};

// Of an instruction's fill, four bytes
DEVICE unsigned char fill_of(int fill, int channel) { return (unsigned char)(fill >> 8 * (channel & 3)); }
