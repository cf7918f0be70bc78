/* Vector size of the processor, for the vector extensions of GCC and clang, and, as `simdlen(VECTOR_BYTES / 4)`, for
 * loops with much arithmetic: on some processors with AVX-512, GCC prefers vectors of half the size. */

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
