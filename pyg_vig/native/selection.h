/* The k smallest entries of every row.
 *
 * Floats are mapped to integer keys of the same order. A limit that k keys, or a few more, do not exceed is found by
 * counting the keys up to a guess: passes that the compiler vectorises, without data-dependent branches. The few keys
 * up to the limit are then ranked by comparing all pairs. Long rows are processed in pieces, and only keys up to the
 * current limit are kept.
 */

enum { OFFER = 1024, WAITING = 512, GLANCE = 64, GUESSES = 12, GROUP = 16 };

typedef int32_t Eight __attribute__((vector_size(32), aligned(4), may_alias));

static const int32_t OUT = INT32_MAX, FARTHEST = INT32_MAX - 1; /* no key, padding; the key of NaN */

static int32_t ordered(float value) {
    int32_t bits;
    value += 0.0f; /* maps -0 to +0 */
    memcpy(&bits, &value, sizeof bits);
    bits ^= (bits >> 31) & INT32_MAX;
    return value == value ? bits : FARTHEST;
}

static float value_of(int32_t key) {
    float value;
    key ^= (key >> 31) & INT32_MAX;
    memcpy(&value, &key, sizeof value);
    return value;
}

/* Pads the keys with OUT to a multiple of GROUP, and returns the padded length. */
static int64_t fill_group(int32_t *key, int64_t n) {
    for (; n % GROUP; n++) key[n] = OUT;
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
    if (n == GLANCE) /* a constant trip count, for the compiler */
        for (int64_t j = 0; j < GLANCE; j++) found |= distance[j] <= limit;
    else
        for (int64_t j = 0; j < n; j++) found |= distance[j] <= limit;
    return found;
}

/* Finds a limit such that `within` keys are at most the limit: at least k and, unless keys are equal, at most `most`.
 * The search starts at `guess`, the limit of the previous row, which is often close. */
static int32_t find_limit(const int32_t *key, int64_t n, int64_t k, int64_t most, int32_t guess, int64_t *within) {
    int32_t low = OUT, high = INT32_MIN;
    for (int64_t i = 0; i < n; i++) {
        low = key[i] < low ? key[i] : low;
        high = key[i] > high ? key[i] : high;
    }
    const int64_t padded = (n + GROUP - 1) / GROUP * GROUP;
    int64_t below = 0; /* keys under low, as `within` counts those up to high */
    *within = n;
    for (int turn = 0; low < high && *within > most; turn++) {
        if (turn > 0) { /* interpolate; bisect every fourth turn, and after GUESSES turns to guarantee termination */
            const float share = turn % 4 ? (float)((k + most) / 2 - below) / (float)(*within - below) : 0.5f;
            const float value = value_of(low) + share * (value_of(high) - value_of(low));
            guess = turn < GUESSES && isfinite(value) ? ordered(value) : (int32_t)(((int64_t)low + high) >> 1);
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
ALWAYS_INLINE uint64_t bits_of_eight(const int32_t *key, int32_t limit) {
    const Eight bits = (*(const Eight *)key <= limit) & (Eight){1, 2, 4, 8, 16, 32, 64, 128};
    uint64_t part[4];
    memcpy(part, &bits, sizeof part);
    const uint64_t both = part[0] | part[1] | part[2] | part[3];
    return (both | both >> 32) & 0xFF;
}

/* Bit mask of the keys, out of up to GLANCE (a multiple of 8), that are at most the limit. */
ALWAYS_INLINE uint64_t bits_up_to(const int32_t *key, int64_t n, int32_t limit) {
    uint64_t bits = 0;
    for (int64_t i = 0; i < n; i += 8) bits |= bits_of_eight(key + i, limit) << i;
    return bits;
}

/* Keeps the k smallest keys, and perhaps a few more, in their original order; ties go to the first. */
static int64_t keep_smallest(int32_t *key, int32_t *column, int64_t n, int64_t k, int64_t most, int32_t *limit,
                             int32_t *guess) {
    if (n <= most) return n;
    int64_t within, kept = 0;
    const int64_t padded = fill_group(key, n);
    *limit = *guess = find_limit(key, n, k, most, *guess, &within);
    for (int64_t i = n - 1; within > most; i--) /* too many equal the limit: drop the last ones */
        if (key[i] == *limit) {
            key[i] = OUT;
            within--;
        }
    for (int64_t first = 0; first < padded; first += GLANCE) {
        const int64_t some = padded - first < GLANCE ? padded - first : GLANCE;
        for (uint64_t bits = bits_up_to(key + first, some, *limit); bits; bits &= bits - 1) {
            const int64_t i = first + __builtin_ctzll(bits);
            key[kept] = key[i];
            column[kept++] = column[i];
        }
    }
    return kept;
}

/* Writes the first k columns, plus `shift`, in the order of their keys. Overwrites the memory after the n keys. */
static void put_in_order(int32_t *key, const int32_t *column, int64_t n, int64_t k, int64_t shift, int64_t *out) {
    const int64_t padded = fill_group(key, n);
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
    for (int64_t j = 0; j < k; j++) out[j] = shift + order[j];
}

/* The candidates among the columns of one row, which are offered piece by piece. */
typedef struct {
    int32_t *key, *column; /* of the candidates, each with space for choice_room(most) entries */
    int64_t n;
    int32_t limit; /* larger keys are no candidates */
} Choice;

static int64_t choice_room(int64_t most) {
    return 3 * most + WAITING + OFFER + 3 * GROUP;
}

/* Adds candidates from columns `first` to first + `width`, given their distances; `width` is at most OFFER. */
static void offer(Choice *choice, const float *distance, int64_t first, int64_t width, int64_t k, int64_t most,
                  int32_t *guess) {
    int32_t *key = choice->key, *column = choice->column, fresh[GLANCE];
    int64_t n = choice->n;
    if (choice->limit == FARTHEST) { /* no limit yet */
        for (int64_t j = 0; j < width; j++) key[n + j] = ordered(distance[j]);
        const int32_t begin = (int32_t)first;
        #pragma omp simd
        for (int32_t j = 0; j < (int32_t)width; j++) column[n + j] = begin + j;
        n += width;
    } else
        for (int64_t begin = 0; begin < width; begin += GLANCE) {
            const int64_t glance = width - begin < GLANCE ? width - begin : GLANCE;
            if (!any_up_to(distance + begin, glance, value_of(choice->limit))) continue;
            for (int64_t j = 0; j < glance; j++) fresh[j] = ordered(distance[begin + j]);
            uint64_t bits = bits_up_to(fresh, fill_group(fresh, glance), choice->limit);
            for (; bits; bits &= bits - 1) {
                key[n] = fresh[__builtin_ctzll(bits)];
                column[n++] = (int32_t)(first + begin) + __builtin_ctzll(bits);
            }
        }
    choice->n = n > most + WAITING ? keep_smallest(key, column, n, k, most, &choice->limit, guess) : n;
}

static void settle(Choice *choice, int64_t k, int64_t most, int32_t *guess, int64_t shift, int64_t *out) {
    const int64_t n = keep_smallest(choice->key, choice->column, choice->n, k, most, &choice->limit, guess);
    put_in_order(choice->key, choice->column, n, k, shift, out);
}
