// The products of codes.h for processors with AVX2.
#if defined(__x86_64__)
#include "../target.h"
#include "codes.h"

#include <immintrin.h>

TARGET("avx2")
#define INSTRUCTIONS avx2
namespace trident_index {
namespace avx2 {
constexpr std::size_t kStep = 16;
struct Sums {
    __m256i sums = _mm256_setzero_si256();
};
inline void add(Sums &sums, const std::int16_t *query, const std::int8_t *row) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(row)));
    const __m256i other = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(query));
    sums.sums = _mm256_add_epi32(sums.sums, _mm256_madd_epi16(wide, other));
}
inline std::int32_t total(const Sums &sums) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums.sums), _mm256_extracti128_si256(sums.sums, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xB1));
    return _mm_cvtsi128_si32(half);
}
} // namespace avx2
} // namespace trident_index
#include "dots.h"

namespace trident_index {
const Dots kAvx2 = {"avx2", avx2::one, avx2::of_labels, avx2::of_range};
}
END_TARGET
#endif
