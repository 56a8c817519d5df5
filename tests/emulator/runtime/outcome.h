// What a launch reports: an error, or nothing, and counters. report.py has the same structure.

#define EXPORTED extern "C" __attribute__((visibility("default")))

// A place in the kernel's code: an address within the library, or 0. A call is what ends a byte before it returns to.
typedef uint32_t Site;
extern "C" const char __ehdr_start __attribute__((visibility("hidden")));
static inline Site site_of(const void* return_address) {
    return (Site)((uintptr_t)return_address - (uintptr_t)&__ehdr_start - 1);
}
#define CALLER site_of(__builtin_return_address(0))

struct Outcome {
    char error[32];     // its name; empty if all went well
    char message[480];  // "{other}" stands for the line of other_site
    uint32_t site, other_site;
    int32_t block[3], thread;
    uint64_t barriers, shared_accesses, global_accesses, copies, halves_products, tf32_products, group_products;
};

static Outcome* outcome;
