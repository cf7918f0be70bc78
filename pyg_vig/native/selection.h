/* The k smallest entries of every row.
 *
 * Floats are mapped to integer keys of the same order. A limit that k keys, or a few more, do not exceed is found by
 * counting the keys up to a guess: passes that the compiler vectorises, without data-dependent branches. The few keys
 * up to the limit are then ranked by comparing all pairs. Long rows are processed in chunks, and only keys up to the
 * current limit are kept.
 */

enum { MAX_CHUNK = 1024, BUFFER_SLACK = 512, BLOCK = 64, MAX_INTERPOLATIONS = 12, GROUP = 16 };

typedef int32_t Ints8 __attribute__((vector_size(32), aligned(4), may_alias));

static const int32_t PAD_KEY = INT32_MAX, NAN_KEY = INT32_MAX - 1; /* above all keys, for padding; the key of NaN */

static int32_t key_of(float value) {
    int32_t bits;
    value += 0.0f; /* maps -0 to +0 */
    memcpy(&bits, &value, sizeof bits);
    bits ^= (bits >> 31) & INT32_MAX;
    return value == value ? bits : NAN_KEY;
}

static float value_of(int32_t key) {
    float value;
    key ^= (key >> 31) & INT32_MAX;
    memcpy(&value, &key, sizeof value);
    return value;
}

/* Pads the keys with PAD_KEY to a multiple of GROUP, and returns the padded length. */
static int64_t pad_to_group(int32_t *key, int64_t n) {
    for (; n % GROUP; n++) key[n] = PAD_KEY;
    return n;
}

static int64_t count_up_to(const int32_t *key, int64_t n, int32_t limit) {
    int32_t count[GROUP] = {0}, total = 0;
    for (int64_t i = 0; i < n; i += GROUP)
        for (int lane = 0; lane < GROUP; lane++) count[lane] += key[i + lane] <= limit;
    for (int lane = 0; lane < GROUP; lane++) total += count[lane];
    return total;
}

static int any_up_to(const float *distance, int64_t n, float limit) {
    int found = 0;
    if (n == BLOCK) /* a constant trip count, for the compiler */
        for (int64_t j = 0; j < BLOCK; j++) found |= distance[j] <= limit;
    else
        for (int64_t j = 0; j < n; j++) found |= distance[j] <= limit;
    return found;
}

/* Finds a limit such that `within` keys are at most the limit: at least k and, unless keys are equal, at most
 * `max_kept`. The search starts at `guess`, the limit of the previous row, which is often close. */
static int32_t find_limit(const int32_t *key, int64_t n, int64_t k, int64_t max_kept, int32_t guess, int64_t *within) {
    int32_t low = PAD_KEY, high = INT32_MIN;
    for (int64_t i = 0; i < n; i++) {
        low = key[i] < low ? key[i] : low;
        high = key[i] > high ? key[i] : high;
    }
    const int64_t padded = (n + GROUP - 1) / GROUP * GROUP;
    int64_t below = 0; /* keys under low, as `within` counts those up to high */
    *within = n;
    for (int iteration = 0; low < high && *within > max_kept; iteration++) {
        if (iteration > 0) { /* interpolate; bisect every fourth time, and after MAX_INTERPOLATIONS, so that it ends */
            const float fraction =
                iteration % 4 ? (float)((k + max_kept) / 2 - below) / (float)(*within - below) : 0.5f;
            const float value = value_of(low) + fraction * (value_of(high) - value_of(low));
            guess = iteration < MAX_INTERPOLATIONS && isfinite(value) ? key_of(value)
                                                                      : (int32_t)(((int64_t)low + high) >> 1);
        }
        guess = guess < low ? low : guess >= high ? high - 1 : guess;
        const int64_t count = count_up_to(key, padded, guess);
        if (count >= k) {
            high = guess;
            *within = count;
        } else {
            low = guess + 1;
            below = count;
        }
    }
    return high;
}

/* Bit mask of the keys, out of eight, that are at most the limit. */
ALWAYS_INLINE uint64_t mask_of_eight(const int32_t *key, int32_t limit) {
    const Ints8 bits = (*(const Ints8 *)key <= limit) & (Ints8){1, 2, 4, 8, 16, 32, 64, 128};
    uint64_t part[4];
    memcpy(part, &bits, sizeof part);
    const uint64_t combined = part[0] | part[1] | part[2] | part[3];
    return (combined | combined >> 32) & 0xFF;
}

/* Bit mask of the keys, out of up to BLOCK (a multiple of 8), that are at most the limit. */
ALWAYS_INLINE uint64_t mask_up_to(const int32_t *key, int64_t n, int32_t limit) {
    uint64_t bits = 0;
    for (int64_t i = 0; i < n; i += 8) bits |= mask_of_eight(key + i, limit) << i;
    return bits;
}

/* Keeps the k smallest keys, and perhaps a few more, in their original order; ties go to the first. */
static int64_t keep_smallest(int32_t *key, int32_t *column, int64_t n, int64_t k, int64_t max_kept, int32_t *limit,
                             int32_t *guess) {
    if (n <= max_kept) return n;
    int64_t within, kept = 0;
    const int64_t padded = pad_to_group(key, n);
    *limit = *guess = find_limit(key, n, k, max_kept, *guess, &within);
    for (int64_t i = n - 1; within > max_kept; i--) /* too many equal the limit: drop the last ones */
        if (key[i] == *limit) {
            key[i] = PAD_KEY;
            within--;
        }
    for (int64_t first = 0; first < padded; first += BLOCK) {
        const int64_t length = padded - first < BLOCK ? padded - first : BLOCK;
        for (uint64_t bits = mask_up_to(key + first, length, *limit); bits; bits &= bits - 1) {
            const int64_t i = first + __builtin_ctzll(bits);
            key[kept] = key[i];
            column[kept++] = column[i];
        }
    }
    return kept;
}

/* Writes the first k columns, plus `index_offset`, in the order of their keys. Overwrites the memory after the n keys.
 */
static void write_sorted(int32_t *key, const int32_t *column, int64_t n, int64_t k, int64_t index_offset,
                         int64_t *out) {
    const int64_t padded = pad_to_group(key, n);
    int32_t *rank = key + padded, *order = rank + padded;
    int64_t total = 0;
    for (int64_t first = 0; first < padded; first += GROUP) {
        int32_t smaller[GROUP] = {0}, own[GROUP];
        for (int lane = 0; lane < GROUP; lane++) own[lane] = key[first + lane];
        for (int64_t j = 0; j < n; j++)
            for (int lane = 0; lane < GROUP; lane++) smaller[lane] += key[j] < own[lane];
        for (int lane = 0; lane < GROUP; lane++) rank[first + lane] = smaller[lane];
    }
    for (int64_t i = 0; i < n; i++) total += rank[i];
    for (int64_t i = 0; total < n * (n - 1) / 2 && i < n; i++) /* some are equal: rank them by position */
        for (int64_t j = 0; j < i; j++) rank[i] += key[j] == key[i];
    for (int64_t i = 0; i < n; i++) order[rank[i]] = column[i];
    for (int64_t j = 0; j < k; j++) out[j] = index_offset + order[j];
}

/* The candidates among the columns of one row, which are pushed chunk by chunk. */
typedef struct {
    int32_t *key, *column; /* of the candidates, each with space for candidates_capacity(max_kept) entries */
    int64_t n;
    int32_t limit; /* larger keys are no candidates */
} Candidates;

static int64_t candidates_capacity(int64_t max_kept) {
    return 3 * max_kept + BUFFER_SLACK + MAX_CHUNK + 3 * GROUP;
}

/* Adds candidates from columns `first` to first + `width`, given their distances; `width` is at most MAX_CHUNK. */
static void push(Candidates *candidates, const float *distance, int64_t first, int64_t width, int64_t k,
                 int64_t max_kept, int32_t *guess) {
    int32_t *key = candidates->key, *column = candidates->column, new_key[BLOCK];
    int64_t n = candidates->n;
    if (candidates->limit == NAN_KEY) { /* no limit yet */
        for (int64_t j = 0; j < width; j++) key[n + j] = key_of(distance[j]);
        const int32_t begin = (int32_t)first;
        #pragma omp simd
        for (int32_t j = 0; j < (int32_t)width; j++) column[n + j] = begin + j;
        n += width;
    } else
        for (int64_t begin = 0; begin < width; begin += BLOCK) {
            const int64_t length = width - begin < BLOCK ? width - begin : BLOCK;
            if (!any_up_to(distance + begin, length, value_of(candidates->limit))) continue;
            for (int64_t j = 0; j < length; j++) new_key[j] = key_of(distance[begin + j]);
            uint64_t bits = mask_up_to(new_key, pad_to_group(new_key, length), candidates->limit);
            for (; bits; bits &= bits - 1) {
                key[n] = new_key[__builtin_ctzll(bits)];
                column[n++] = (int32_t)(first + begin) + __builtin_ctzll(bits);
            }
        }
    candidates->n =
        n > max_kept + BUFFER_SLACK ? keep_smallest(key, column, n, k, max_kept, &candidates->limit, guess) : n;
}

/* Writes the k nearest, see write_sorted. */
static void finish(Candidates *candidates, int64_t k, int64_t max_kept, int32_t *guess, int64_t index_offset,
                   int64_t *out) {
    const int64_t n = keep_smallest(candidates->key, candidates->column, candidates->n, k, max_kept,
                                    &candidates->limit, guess);
    write_sorted(candidates->key, candidates->column, n, k, index_offset, out);
}
