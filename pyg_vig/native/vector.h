/* Vector size of the processor, for the vector extensions of GCC and clang, and, as `simdlen(VECTOR_BYTES / 4)`, for
 * loops with much arithmetic: on some processors with AVX-512, GCC prefers vectors of half the size. EACH_LANE lists
 * F(i, n) for every lane i of floats. */

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#define EACH_LANE(F, n) \
    F(0, n), F(1, n), F(2, n), F(3, n), F(4, n), F(5, n), F(6, n), F(7, n), F(8, n), F(9, n), F(10, n), F(11, n), \
        F(12, n), F(13, n), F(14, n), F(15, n)
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#define EACH_LANE(F, n) F(0, n), F(1, n), F(2, n), F(3, n), F(4, n), F(5, n), F(6, n), F(7, n)
#else
enum { VECTOR_BYTES = 16 };
#define EACH_LANE(F, n) F(0, n), F(1, n), F(2, n), F(3, n)
#endif
