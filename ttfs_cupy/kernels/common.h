// Shared by both targets, after cuda.h or cpu.h.

// A pointer parameter that may be null: the launcher takes None for it.
#define OPTIONAL

// Templates named Number take a float, or Lanes, a strip of them at once.

template <typename Number>
struct Constant {
    DEVICE Number of(float value) { return broadcast(value); }
};
template <>
struct Constant<float> {
    DEVICE float of(float value) { return value; }
};
