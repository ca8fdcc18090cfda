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

constexpr int kLanes = 16, kGroup = 4, kRows = 12, kPadding = kVnniPadding, kShift = 0;
using Code = std::uint8_t;
using Weights = __m512i;
typedef std::int32_t Ints __attribute__((vector_size(64), may_alias));

#include "quantize_avx512.h"

inline Weights load_weights(const std::int8_t *from) { return _mm512_load_si512(from); }

// Not _mm512_dpbusd_epi32: GCC 12 copies its sums to memory and back, and the tile takes twice as long.
[[gnu::always_inline]] inline void add(Ints &sums, const Code *codes, Weights weights) {
    std::int32_t four;
    std::memcpy(&four, codes, sizeof four);
    const __m512i group = _mm512_set1_epi32(four);
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(group), "v"(weights));
}

#include "eight_bits_vectors.h"

} // namespace vnni

void multiply_by_vnni(const Product &product, const float *x, int tokens, float *y, Columns columns) {
    vnni::multiply(product, x, tokens, y, columns);
}

const Pack kVnniPack = vnni::pack;

} // namespace trident
END_TARGET
#endif
