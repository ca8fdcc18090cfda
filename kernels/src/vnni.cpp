// Products in 8 bits for processors with AVX-512 VNNI: 16 outputs and four inputs an instruction.
#if defined(__x86_64__)
#include "model.h"
#include "target.h"

#include <algorithm>
#include <cstring>
#include <immintrin.h>

TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

namespace trident {
namespace vnni {

constexpr int kLanes = 16, kGroup = 4, kRows = 12, kShift = 0;
constexpr float kSmallest = 1e-6f; // a row of smaller numbers counts as zeros
using Code = std::uint8_t;
using Weights = __m512i;
typedef std::int32_t Ints __attribute__((vector_size(64), may_alias));

inline __mmask16 first(int count) { return _cvtu32_mask16(count >= kLanes ? 0xffff : count <= 0 ? 0 : (1u << count) - 1); }

inline __m512 smoothed(const Codes &codes, const float *x, int input, int inputs) {
    const __mmask16 inside = first(inputs - input);
    return _mm512_mul_ps(_mm512_maskz_loadu_ps(inside, x + input),
                         _mm512_maskz_loadu_ps(inside, codes.columns.get() + input));
}

inline float quantize(const Codes &codes, const float *x, int inputs, Code *to, int padded_inputs) {
    __m512 largest = _mm512_setzero_ps();
    for (int input = 0; input < inputs; input += kLanes) {
        largest = _mm512_max_ps(largest, _mm512_abs_ps(smoothed(codes, x, input, inputs)));
    }
    const float size = std::max(_mm512_reduce_max_ps(largest), kSmallest);
    const __m512 by = _mm512_set1_ps(1.0f / (size * codes.step));
    const __m512i zero = _mm512_set1_epi32(codes.zero), top = _mm512_set1_epi32(255);
    for (int input = 0; input < padded_inputs; input += kLanes) {
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(smoothed(codes, x, input, inputs), by));
        const __m512i rounded = _mm512_add_epi32(whole, zero);
        const __m512i bounded = _mm512_max_epi32(_mm512_min_epi32(rounded, top), _mm512_setzero_si512());
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to + input), _mm512_cvtepi32_epi8(bounded));
    }
    return size * codes.step;
}

inline Weights load_weights(const std::int8_t *from) { return _mm512_load_si512(from); }

// Not _mm512_dpbusd_epi32: GCC 12 copies its sums to memory and back, and the tile takes twice as long.
[[gnu::always_inline]] inline void add(Ints &sums, const Code *codes, Weights weights) {
    std::int32_t four;
    std::memcpy(&four, codes, sizeof four);
    const __m512i group = _mm512_set1_epi32(four);
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(group), "v"(weights));
}

#include "eight_bits.h"

} // namespace vnni

const Pack kVnniPack = vnni::pack;

} // namespace trident
END_TARGET
#endif
