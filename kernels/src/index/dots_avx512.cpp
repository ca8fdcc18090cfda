// The products of codes.h for processors with AVX-512BW.
#if defined(__x86_64__)
#include "../target.h"
#include "codes.h"

#include <immintrin.h>

TARGET("avx512f,avx512bw,avx2")
#define INSTRUCTIONS avx512
namespace trident_index {
namespace avx512 {
constexpr std::size_t kStep = 32;
struct Sums {
    __m512i sums = _mm512_setzero_si512();
};
inline void add(Sums &sums, const std::int16_t *query, const std::int8_t *row) {
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(row)));
    const __m512i other = _mm512_loadu_si512(query);
    sums.sums = _mm512_add_epi32(sums.sums, _mm512_madd_epi16(wide, other));
}
inline std::int32_t total(const Sums &sums) { return _mm512_reduce_add_epi32(sums.sums); }
} // namespace avx512
} // namespace trident_index
#include "dots.h"

namespace trident_index {
const Dots kAvx512 = {"avx512", avx512::one, avx512::of_labels, avx512::of_range};
}
END_TARGET
#endif
