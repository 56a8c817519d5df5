// Products of stacks of matrices, for the CPU alone: on a GPU they are cuBLAS's. A BLAS packs both operands anew in every
// call, which costs a tenth to a third of the small products that Winograd needs; here the kernels that make the operands
// have written them in the order in which they are read, so nothing is packed.
//
// Written with the compiler's vector types: one tile of the result is kept in registers while both operands stream by.
// Called by CpuDevice.multiply in ttfs_cupy/device/cpu.py.

#if defined(__AVX512F__)
#define VECTOR_FLOATS 16
#define TILE_ROWS 12
#else
#define VECTOR_FLOATS 8
#define TILE_ROWS 6
#endif
#define TILE_COLUMNS (2 * VECTOR_FLOATS)

// Columns of a panel of b. A multiple of TILE_COLUMNS on every machine.
#define PANEL 32

// The depth of one pass: a panel's part then stays in the second-level cache while all rows go by.
#define PASS_DEPTH 512

// Sums are made of pieces of this depth, each from 0: an addition is rounded by the size of its piece's sum, not of all
// that came before.
#define PIECE_DEPTH 64

typedef float Vector __attribute__((vector_size(4 * VECTOR_FLOATS), aligned(4), may_alias));

// out (ROWS, TILE_COLUMNS) = or += sum over k of a[row, k] b[k, column]; steps are in floats.
template <int ROWS>
DEVICE void product_tile(const float* __restrict__ a, long long a_row, long long a_depth, const float* __restrict__ b,
                         long long b_depth, float* __restrict__ out, long long out_row, int depth, bool accumulate) {
    Vector sums[ROWS][2] = {};
    for (int from = 0; from < depth; from += PIECE_DEPTH) {
        const int to = depth - from < PIECE_DEPTH ? depth : from + PIECE_DEPTH;
        Vector left[ROWS] = {}, right[ROWS] = {};
        for (int k = from; k < to; ++k) {
            const Vector b_left = *(const Vector*)(b + k * b_depth), b_right = *(const Vector*)(b + k * b_depth + VECTOR_FLOATS);
#pragma GCC unroll 12
            for (int row = 0; row < ROWS; ++row) {
                const float value = a[row * a_row + k * a_depth];
                left[row] += value * b_left;
                right[row] += value * b_right;
            }
        }
#pragma GCC unroll 12
        for (int row = 0; row < ROWS; ++row) {
            sums[row][0] += left[row];
            sums[row][1] += right[row];
        }
    }
    for (int row = 0; row < ROWS; ++row) {
        Vector* const target = (Vector*)(out + row * out_row);
        target[0] = accumulate ? target[0] + sums[row][0] : sums[row][0];
        target[1] = accumulate ? target[1] + sums[row][1] : sums[row][1];
    }
}

// One row of the last columns of a matrix whose width is no multiple of a tile's.
DEVICE void product_edge(const float* __restrict__ a, long long a_depth, const float* __restrict__ b, long long b_depth,
                         float* __restrict__ out, int columns, int depth, bool accumulate) {
    float sums[TILE_COLUMNS] = {};
    for (int from = 0; from < depth; from += PIECE_DEPTH) {
        const int to = depth - from < PIECE_DEPTH ? depth : from + PIECE_DEPTH;
        float piece[TILE_COLUMNS] = {};
        for (int k = from; k < to; ++k) {
            const float value = a[k * a_depth];
            for (int column = 0; column < columns; ++column) piece[column] += value * b[k * b_depth + column];
        }
        for (int column = 0; column < columns; ++column) sums[column] += piece[column];
    }
    for (int column = 0; column < columns; ++column) out[column] = accumulate ? out[column] + sums[column] : sums[column];
}

// out = or, with accumulate, += a b, for each matrix of a stack: (rows, columns) from (rows, depth), or with transposed
// (depth, rows), and (depth, columns). With in_panels b is (panels, depth, PANEL): columns 0 to PANEL - 1 of all rows,
// then the next ones.
//
// The matrices of a stack are numbered (y, x) with y < down, x < across. Those of a lie one after the other; those of b
// and out may be the corner of a larger grid, b_across and out_across being its width. The steps lie between two matrices.
KERNEL void multiply(const float* __restrict__ a, int a_step, const float* __restrict__ b, int b_step, int b_across,
                     float* __restrict__ out, int out_step, int out_across, int transposed, int in_panels, int accumulate,
                     int down, int across, int rows, int depth, int columns) {
    const long long a_row = transposed ? 1 : depth, a_depth = transposed ? rows : 1;
    const int panels = (columns + PANEL - 1) / PANEL;
    const long long b_depth = in_panels ? PANEL : columns;
    const long long b_panel = in_panels ? (long long)depth * PANEL : PANEL;
    GRID_LOOP(unit, down * across * panels) {
        const int matrix = unit / panels, panel = unit % panels, y = matrix / across, x = matrix % across;
        const float* const a_of_matrix = a + (long long)matrix * a_step;
        const float* const b_of_panel = b + (long long)(y * b_across + x) * b_step + panel * b_panel;
        float* const out_of_panel = out + (long long)(y * out_across + x) * out_step + panel * PANEL;
        for (int from = 0; from < depth; from += PASS_DEPTH) {
            const int pass = depth - from < PASS_DEPTH ? depth - from : PASS_DEPTH;
            const bool add = accumulate || from > 0;
            for (int column = 0; column < PANEL && panel * PANEL + column < columns; column += TILE_COLUMNS) {
                const float* const b_tile = b_of_panel + from * b_depth + column;
                const int width = columns - panel * PANEL - column;
                int row = 0;
                for (; row < rows;) {
                    const float* const a_tile = a_of_matrix + row * a_row + from * a_depth;
                    float* const out_tile = out_of_panel + (long long)row * columns + column;
                    if (width < TILE_COLUMNS) {
                        product_edge(a_tile, a_depth, b_tile, b_depth, out_tile, width, pass, add);
                        row += 1;
                    } else if (row + TILE_ROWS <= rows) {
                        product_tile<TILE_ROWS>(a_tile, a_row, a_depth, b_tile, b_depth, out_tile, columns, pass, add);
                        row += TILE_ROWS;
                    } else if (row + 4 <= rows) {
                        product_tile<4>(a_tile, a_row, a_depth, b_tile, b_depth, out_tile, columns, pass, add);
                        row += 4;
                    } else {
                        product_tile<1>(a_tile, a_row, a_depth, b_tile, b_depth, out_tile, columns, pass, add);
                        row += 1;
                    }
                }
            }
        }
    }
}
