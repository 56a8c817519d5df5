// The arrays of a launch.

enum class Kind : int32_t { read_only, writable, static_shared };
struct Array {
    uintptr_t begin, end;
    const char* name;
    Kind kind;
    uint32_t shadow;  // of static shared memory: where the histories of its bytes begin
};
static const Array* arrays;
static int array_count;

// Null if no array holds all of it. Arrays may overlap: one that may be written is preferred to write to.
static const Array* array_of(uintptr_t at, uint32_t size, bool write) {
    static int last = 0;
    auto holds = [=](const Array& array) { return at >= array.begin && at + size <= array.end; };
    auto allows = [=](const Array& array) { return !write || array.kind != Kind::read_only; };
    if (last < array_count && holds(arrays[last]) && allows(arrays[last])) return &arrays[last];
    const Array* found = nullptr;
    for (int i = 0; i < array_count; ++i) {
        if (!holds(arrays[i])) continue;
        found = &arrays[i], last = i;
        if (allows(arrays[i])) break;
    }
    return found;
}
