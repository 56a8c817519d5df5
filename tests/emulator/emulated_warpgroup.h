// Stands for cooperative/tensorcore/warpgroup.h, which finds WARPGROUP defined and adds nothing: the same names, signatures and
// layouts. All is done by the runtime. Sums and left factors go by their addresses: products run on after the call.

#define WARPGROUP 128
#define GROUP_SUMS 32

extern "C" {
void emulated_show_products();
unsigned long long emulated_right_factor(const void* shared, unsigned rows_apart, unsigned columns_apart);
void emulated_begin_products();
void emulated_multiply_group(float* sum, const unsigned* a, unsigned long long b, bool first);
void emulated_end_product_group();
void emulated_await_product_groups(int pending);
}

DEVICE void show_products() { emulated_show_products(); }
DEVICE unsigned long long right_factor(const void* shared, unsigned rows_apart, unsigned columns_apart) {
    return emulated_right_factor(shared, rows_apart, columns_apart);
}
DEVICE void begin_products() { emulated_begin_products(); }
DEVICE void multiply_group(float (&sum)[GROUP_SUMS], const unsigned (&a)[4], unsigned long long b, bool first) {
    emulated_multiply_group(sum, a, b, first);
}
DEVICE void end_product_group() { emulated_end_product_group(); }
template <int pending>
DEVICE void await_product_groups() {
    emulated_await_product_groups(pending);
}
