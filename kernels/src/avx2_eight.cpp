// Products in 8 bits for processors with AVX2 and no VNNI: 8 outputs and two inputs an instruction. Both are widened to
// 16 bits, so that nothing overflows: the integers and their sums are those of VNNI.
#if defined(__x86_64__)
#include "model.h"
#include "target.h"

#include <algorithm>
#include <cstring>
#include <immintrin.h>

TARGET("avx2,fma")

namespace trident {
namespace avx2_eight {

constexpr int kLanes = 8, kGroup = 2, kRows = 6, kPadding = 16, kShift = 0;
constexpr float kSmallest = 1e-6f; // a row of smaller numbers counts as zeros
using Code = std::int16_t;
using Weights = __m256i;
typedef std::int32_t Ints __attribute__((vector_size(32), may_alias));

inline __m256 smoothed(const Codes &codes, const float *x, int input, int inputs) {
    const __m256 columns = _mm256_load_ps(codes.columns.get() + input); // filled up with zeros
    if (input + kLanes <= inputs) {
        return _mm256_mul_ps(_mm256_loadu_ps(x + input), columns);
    }
    alignas(32) float last[kLanes] = {};
    std::copy(x + std::min(input, inputs), x + inputs, last);
    return _mm256_mul_ps(_mm256_load_ps(last), columns);
}

inline float quantize(const Codes &codes, const float *x, int inputs, Code *to, int padded_inputs) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 largest = _mm256_setzero_ps();
    for (int input = 0; input < inputs; input += kLanes) {
        largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, smoothed(codes, x, input, inputs)));
    }
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    const float size = std::max(_mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half))), kSmallest);
    const __m256 by = _mm256_set1_ps(1.0f / (size * codes.step));
    const __m256i zero = _mm256_set1_epi32(codes.zero), top = _mm256_set1_epi32(255);
    for (int input = 0; input < padded_inputs; input += kLanes) {
        const __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(smoothed(codes, x, input, inputs), by));
        const __m256i rounded = _mm256_add_epi32(whole, zero);
        const __m256i bounded = _mm256_max_epi32(_mm256_min_epi32(rounded, top), _mm256_setzero_si256());
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to + input),
                         _mm_packs_epi32(_mm256_castsi256_si128(bounded), _mm256_extracti128_si256(bounded, 1)));
    }
    return size * codes.step;
}

inline Weights load_weights(const std::int8_t *from) {
    return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i *>(from)));
}

// Not the intrinsics: GCC 12 moves all products before all sums, and has no registers for them.
[[gnu::always_inline]] inline void add(Ints &sums, const Code *codes, Weights weights) {
    std::int32_t two;
    std::memcpy(&two, codes, sizeof two);
    const __m256i group = _mm256_set1_epi32(two);
    __m256i products;
    asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(sums), "=&x"(products) : "x"(group), "x"(weights));
}

#include "eight_bits_vectors.h"

} // namespace avx2_eight

const Pack kAvx2Pack = avx2_eight::pack;

} // namespace trident
END_TARGET
#endif
