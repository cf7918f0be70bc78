/* Entry points of the kernels for CPUs; pyg_vig/native/__init__.py compiles and calls them. */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* constants among the arguments then unroll */

#include "activation.h"
#include "norm.h"
#include "product.h"
#include "selection.h"

#define T float
#define NAME(function) function##_float32
#include "maximum.h"

#define T double
#define NAME(function) function##_float64
#include "maximum.h"

/* Columns (graphs, rows, k) of the smallest factor * product + base + bias in every row, in increasing order.
 *
 * product is (graphs, rows, columns), base (graphs, columns) or NULL, bias (rows, columns) or NULL. With `marks`, the
 * distance of row i to column diagonal + i, itself, is `own`. Returns 1 where memory is short.
 */
int smallest(const float *product, const float *base, const float *bias, float factor, int64_t graphs, int64_t rows,
             int64_t columns, int64_t k, int marks, int64_t diagonal, float own, int64_t *out, int threads) {
    const int64_t most = k + k / 4 + 6, room = 2 * (most + BLOCK);
    int failed = 0;
    #pragma omp parallel num_threads(threads) reduction(| : failed)
    {
        int32_t *key = malloc(2 * room * sizeof *key);
        int32_t guess = 0;
        failed = key == NULL;
        #pragma omp for schedule(static)
        for (int64_t i = 0; i < graphs * rows; i++) {
            const int64_t graph = i / rows, number = i % rows;
            const Row row = {
                product + i * columns,
                base ? base + graph * columns : NULL,
                bias ? bias + number * columns : NULL,
                factor,
                marks ? diagonal + number : -1,
                own,
            };
            if (key) smallest_of_row(&row, columns, k, most, key, key + room, &guess, out + i * k);
        }
        free(key);
    }
    return failed;
}
