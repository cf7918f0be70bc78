/* The kernels for CPUs, in one translation unit; build.py compiles them, functions.py calls them. */

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* so that constant arguments are specialised */

#include "vector.h"

#include "activation.h"

#include "norm.h"
#include "product.h"
#include "selection.h"

#include "nearest.h"

#define T float
#define ARGMAX int16_t
#define INDEX int32_t
#define NAME(function) function##_float32_int16
#include "maximum.h"

#define T float
#define ARGMAX int32_t
#define INDEX int32_t
#define NAME(function) function##_float32_int32
#include "maximum.h"

#define T double
#define ARGMAX int16_t
#define INDEX int64_t
#define NAME(function) function##_float64_int16
#include "maximum.h"

#define T double
#define ARGMAX int32_t
#define INDEX int64_t
#define NAME(function) function##_float64_int32
#include "maximum.h"
