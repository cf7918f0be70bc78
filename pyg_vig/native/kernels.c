/* Entry points of the kernels for CPUs; pyg_vig/native/__init__.py compiles and calls them. */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* constants among the arguments then unroll */

#include "activation.h"
#include "vector.h"

#include "norm.h"
#include "product.h"
#include "selection.h"

#include "nearest.h"

#define T float
#define INDEX int32_t
#define NAME(function) function##_float32
#include "maximum.h"

#define T double
#define INDEX int64_t
#define NAME(function) function##_float64
#include "maximum.h"
