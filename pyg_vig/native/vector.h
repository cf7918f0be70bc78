/* The vectors of the processor. Operators on them are the compiler's own (GCC's and clang's vector extensions). */

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
