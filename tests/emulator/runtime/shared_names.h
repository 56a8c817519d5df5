// Names that the kernels' side and the runtime share.
enum class EmulatedPlace { thread, block_x, block_y, block_z, threads, grid_x, grid_y, grid_z };
enum class EmulatedResult { nothing, any, all, count, ballot };
enum class EmulatedAtomic { add, max_signed, max_unsigned, exchange, compare_and_swap };
