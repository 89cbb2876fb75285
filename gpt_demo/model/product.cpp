// y = W x for a few vectors x: what writing a token costs. Every weight is read once, in the order of the memory.
//
// W (n, k) is float32, bfloat16 or int8 with a scale per row; x (b, k), y (b, n), scale and bias (n) are float32.
// k is a multiple of 16. Vectors are those of GCC and Clang: they become whatever the processor has.
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#ifdef __AVX512F__
const long LANES = 16;
#else
const long LANES = 8;
#endif
const long SUMS = 8;      // vectors at a time: so many sums hide the latency of an addition
const long AHEAD = 8192;  // bytes to fetch in advance: without it int8 took twice as long

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));
typedef int8_t Bytes __attribute__((vector_size(LANES)));

template <typename Vector, typename T>
static inline Vector load(const T* from) {
    Vector v;
    std::memcpy(&v, from, sizeof v);
    return v;
}

// GCC 12 takes its generic conversion apart, so the two that count are spelled out.
#if defined(__AVX512F__)
static inline Ints wide(Bytes w) { return (Ints)_mm512_cvtepi8_epi32((__m128i)w); }
static inline Ints wide(Halves w) { return (Ints)_mm512_cvtepu16_epi32((__m256i)w); }
#elif defined(__AVX2__)
static inline Ints wide(Bytes w) { return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)&w)); }
static inline Ints wide(Halves w) { return (Ints)_mm256_cvtepu16_epi32((__m128i)w); }
#else
template <typename Vector>
static inline Ints wide(Vector w) {
    return __builtin_convertvector(w, Ints);
}
#endif

static inline Floats widen(const float* w) { return load<Floats>(w); }
static inline Floats widen(const int8_t* w) { return __builtin_convertvector(wide(load<Bytes>(w)), Floats); }
static inline Floats widen(const uint16_t* w) {  // bfloat16 is the upper half of a float32
    return (Floats)(wide(load<Halves>(w)) << 16);
}

template <typename W>
static float dot(const W* w, const float* x, long k) {
    Floats sums[SUMS] = {}, all = {};
    long i = 0;
    for (; i + SUMS * LANES <= k; i += SUMS * LANES) {
        const char* here = (const char*)(w + i);
        for (unsigned long line = 0; line < SUMS * LANES * sizeof(W); line += 64) __builtin_prefetch(here + AHEAD + line);
        for (long s = 0; s < SUMS; s++) sums[s] += widen(w + i + s * LANES) * load<Floats>(x + i + s * LANES);
    }
    for (; i < k; i += LANES) all += widen(w + i) * load<Floats>(x + i);
    for (long s = 0; s < SUMS; s++) all += sums[s];
    float total = 0;
    for (long lane = 0; lane < LANES; lane++) total += all[lane];
    return total;
}

template <typename W>
static void product(const W* w, const float* scale, const float* bias, const float* x, float* y, long n, long k, long b,
                    int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < n; row++)
        for (long j = 0; j < b; j++) {  // a row stays in the cache for all of them
            float sum = dot(w + row * k, x + j * k, k);
            y[j * n + row] = sum * (scale ? scale[row] : 1) + (bias ? bias[row] : 0);
        }
}

#define PRODUCT(name, type)                                                                                      \
    extern "C" void name(const type* w, const float* scale, const float* bias, const float* x, float* y, long n, \
                         long k, long b, int threads) {                                                          \
        product(w, scale, bias, x, y, n, k, b, threads);                                                         \
    }
PRODUCT(fp32, float)
PRODUCT(bf16, uint16_t)
PRODUCT(int8, int8_t)
