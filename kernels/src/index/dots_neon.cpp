// The products of codes.h for processors of ARM, 64 bits.
#if defined(__aarch64__)
#include "codes.h"

#include <arm_neon.h>

#define INSTRUCTIONS neon
namespace trident_index {
namespace neon {
constexpr std::size_t kStep = 16;
struct Sums {
    int32x4_t low = vdupq_n_s32(0), high = vdupq_n_s32(0);
};
inline void add(Sums &sums, const std::int16_t *query, const std::int8_t *row) {
    const int8x16_t codes = vld1q_s8(row);
    const int16x8_t first = vmovl_s8(vget_low_s8(codes)), second = vmovl_high_s8(codes);
    const int16x8_t to_first = vld1q_s16(query), to_second = vld1q_s16(query + 8);
    sums.low = vmlal_s16(sums.low, vget_low_s16(first), vget_low_s16(to_first));
    sums.high = vmlal_high_s16(sums.high, first, to_first);
    sums.low = vmlal_s16(sums.low, vget_low_s16(second), vget_low_s16(to_second));
    sums.high = vmlal_high_s16(sums.high, second, to_second);
}
inline std::int32_t total(const Sums &sums) { return vaddvq_s32(vaddq_s32(sums.low, sums.high)); }
} // namespace neon
} // namespace trident_index
#include "dots.h"

namespace trident_index {
const Dots kNeon = {"neon", neon::one, neon::of_labels, neon::of_range};
}
#endif
