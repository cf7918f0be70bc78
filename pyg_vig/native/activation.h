/* Activations of scalars, which vectorise in loops over rows. The enum values match ACTIVATIONS in functions.py. */

typedef enum { NONE, RELU, GELU, SILU, HARDSWISH } Activation;

/* e^x for x <= 0, as a power of two times a polynomial on [-ln 2 / 2, ln 2 / 2]. Relative error below 2e-7. */
ALWAYS_INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer in the last bits */
    const float whole = shifted - 12582912.0f;
    const float remainder = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    float result = 1.0f / 5040;
    result = result * remainder + 1.0f / 720;
    result = result * remainder + 1.0f / 120;
    result = result * remainder + 1.0f / 24;
    result = result * remainder + 1.0f / 6;
    result = result * remainder + 0.5f;
    result = result * remainder + 1.0f;
    result = result * remainder + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)((uint32_t)bits << 23);
    int32_t scaled;
    memcpy(&scaled, &result, sizeof scaled);
    scaled += bits;
    memcpy(&result, &scaled, sizeof result);
    return result;
}

/* The normal CDF, and e^(-z^2 / 2) in `bell`, by Abramowitz and Stegun 7.1.26. Error below 1.5e-7. */
ALWAYS_INLINE float normal_cdf_and_bell(float z, float *bell) {
    const float abs_x = fabsf(z) * 0.707106781f;
    const float t = 1.0f / (1.0f + 0.3275911f * abs_x);
    *bell = exponential(-abs_x * abs_x);
    float tail = 1.061405429f;
    tail = tail * t - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = tail * t + 0.254829592f;
    tail = 0.5f * tail * t * *bell;
    return z < 0 ? tail : 1.0f - tail;
}

/* The normal CDF by a rational minimax approximation of the error function, on the range where a float tells it from 1.
 * Maximum error 4e-8 in exact arithmetic, below 5e-7 in float. */
ALWAYS_INLINE float normal_cdf(float z) {
    float y = z * 0.707106781f;
    y = y < -3.92f ? -3.92f : y > 3.92f ? 3.92f : y;
    const float t = y * y;
    float p = 1.9920744e-8f;
    p = p * t - 1.99426928e-6f;
    p = p * t + 1.48988206e-4f;
    p = p * t + 3.97302251e-3f;
    p = p * t + 5.13977536e-2f;
    p = p * t + 2.06117754e-1f;
    p = p * t + 1.12837878f;
    float q = 1.0241496e-3f;
    q = q * t + 1.48895104e-2f;
    q = q * t + 1.1756602e-1f;
    q = q * t + 5.1599587e-1f;
    q = q * t + 1.0f;
    return 0.5f + 0.5f * y * p / q;
}

/* 1 / (1 + e^-z) */
ALWAYS_INLINE float sigmoid(float z) {
    const float tail = exponential(-fabsf(z));
    return (z < 0 ? tail : 1.0f) / (1.0f + tail);
}

ALWAYS_INLINE float activate(float z, Activation act) {
    switch (act) {
        case RELU: return z < 0 ? 0.0f : z;
        case GELU: return z * normal_cdf(z);
        case SILU: return z * sigmoid(z);
        case HARDSWISH: return z * (z < -3.0f ? 0.0f : z > 3.0f ? 1.0f : (z + 3.0f) * (1.0f / 6));
        default: return z;
    }
}

ALWAYS_INLINE void activate_simd(float *x, int64_t n, Activation act) {
    #pragma omp simd simdlen(VECTOR_BYTES / 4)
    for (int64_t i = 0; i < n; i++) x[i] = activate(x[i], act);
}

/* Applies an activation to all entries, in place. */
ALWAYS_INLINE void activate_entries(float *x, int64_t n, Activation act) {
    switch (act) { /* constants, so that each activation gets its own loop */
        case RELU: activate_simd(x, n, RELU); break;
        case GELU: activate_simd(x, n, GELU); break;
        case SILU: activate_simd(x, n, SILU); break;
        case HARDSWISH: activate_simd(x, n, HARDSWISH); break;
        default: break;
    }
}

/* activate_entries in several threads. */
void activate_all(float *x, int64_t n, int act, int threads) {
    enum { BLOCK = 1024 };
    #pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
    for (int64_t first = 0; first < n; first += BLOCK)
        activate_entries(x + first, n - first < BLOCK ? n - first : BLOCK, (Activation)act);
}

/* Derivative of an activation; only for NONE, RELU and GELU. */
ALWAYS_INLINE float derivative(float z, Activation act) {
    float bell;
    if (act == GELU) {
        const float cdf = normal_cdf_and_bell(z, &bell);
        return cdf + z * bell * 0.398942280f;
    }
    return act == RELU ? (float)(z > 0) : 1.0f;
}
