// y = W x for a few vectors x: what writing a token costs. Every weight is read once, at the speed of the memory.
//
// W (n, k) is float32, bfloat16 or int8 with a scale per row; x (b, k), y (b, n), scale and bias (n) are float32.
// Vectors are those of GCC and Clang: they become whatever the processor has.
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
const long ROWS = 8;  // at once: so many sums hide the latency of an addition, and share the reads of x

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

static inline Floats widen(const float* w) { return load<Floats>(w); }
// GCC 12 takes its generic conversion apart, so the two that count are spelled out.
#if defined(__AVX512F__)
static inline Ints wide(Bytes w) { return (Ints)_mm512_cvtepi8_epi32((__m128i)w); }
static inline Ints wide(Halves w) { return (Ints)_mm512_cvtepu16_epi32((__m256i)w); }
#elif defined(__AVX2__)
static inline Ints wide(Bytes w) { return (Ints)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)&w)); }
static inline Ints wide(Halves w) { return (Ints)_mm256_cvtepu16_epi32((__m128i)w); }
#else
template <typename Vector>
static inline Ints wide(Vector w) { return __builtin_convertvector(w, Ints); }
#endif
static inline Floats widen(const int8_t* w) { return __builtin_convertvector(wide(load<Bytes>(w)), Floats); }
static inline Floats widen(const uint16_t* w) {  // bfloat16 is the upper half of a float32
    return (Floats)(wide(load<Halves>(w)) << 16);
}

template <long rows, typename W>
static void dot(const W* w, const float* x, long k, float* sums) {
    Floats parts[rows] = {};
    for (long i = 0; i + LANES <= k; i += LANES)
        for (long r = 0; r < rows; r++) parts[r] += widen(w + r * k + i) * load<Floats>(x + i);
    for (long r = 0; r < rows; r++) {
        sums[r] = 0;
        for (long lane = 0; lane < LANES; lane++) sums[r] += parts[r][lane];
    }
}

template <typename W>
static void product(const W* w, const float* scale, const float* bias, const float* x, float* y, long n, long k, long b,
                    int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long first = 0; first < n; first += ROWS)
        for (long j = 0; j < b; j++) {
            float sums[ROWS];
            long rows = n - first < ROWS ? n - first : ROWS;
            if (rows == ROWS)
                dot<ROWS>(w + first * k, x + j * k, k, sums);
            else
                for (long r = 0; r < rows; r++) dot<1>(w + (first + r) * k, x + j * k, k, sums + r);
            for (long r = 0; r < rows; r++)
                y[j * n + first + r] = sums[r] * (scale ? scale[first + r] : 1) + (bias ? bias[first + r] : 0);
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
