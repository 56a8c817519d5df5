// Shared by both targets, after cuda.h or cpu.h.

// A pointer parameter that may be null: the launcher takes None for it.
#define OPTIONAL

// What a mark says of a batch that a network was given (engine/validity.py): bits; 0 is nothing.
#define INPUTS_OUTSIDE 1
#define LABELS_OUTSIDE 2
#define SHARES_OUTSIDE 4

// Templates named Number take a float, or Lanes, a strip of them at once.

template <typename Number>
struct Constant {
    DEVICE Number of(float value) { return broadcast(value); }
};
template <>
struct Constant<float> {
    DEVICE float of(float value) { return value; }
};

// Where a part of n things begins, of so many parts of equal length, nearly.
DEVICE int part_start(int n, int part, int parts) { return (int)((long long)n * part / parts); }

// A float whose bits travel as an int.
DEVICE float float_of(int bits) {
    union {
        int bits;
        float value;
    } both = {bits};
    return both.value;
}
