// Products in 8 bits for processors of ARM with the dot product (Armv8.2): 4 outputs and four inputs an instruction.
#if defined(__aarch64__)
#include "model.h"
#include "target.h"

#include <algorithm>
#include <arm_neon.h>
#include <cstring>

#if defined(__clang__)
TARGET("dotprod")
#else
TARGET("arch=armv8.2-a+dotprod")
#endif

namespace trident {
namespace neon_dot {

constexpr int kLanes = 4, kGroup = 4, kRows = 12;
constexpr int kPadding = 16, kShift = 128; // both sides are signed
constexpr float kSmallest = 1e-6f; // a row of smaller numbers counts as zeros
using Code = std::int8_t;
using Weights = int8x16_t;
typedef std::int32_t Ints __attribute__((vector_size(16), may_alias));

inline float quantize(const Codes &codes, const float *x, int inputs, Code *to, int padded_inputs) {
    const float *columns = codes.columns.get();
    const int whole = inputs / kLanes * kLanes;
    float32x4_t largest = vdupq_n_f32(0);
    for (int input = 0; input < whole; input += kLanes) {
        largest = vmaxq_f32(largest, vabsq_f32(vmulq_f32(vld1q_f32(x + input), vld1q_f32(columns + input))));
    }
    float size = std::max(vmaxvq_f32(largest), kSmallest);
    for (int input = whole; input < inputs; ++input) {
        size = std::max(size, __builtin_fabsf(x[input] * columns[input]));
    }
    const float by = 1.0f / (size * codes.step);
    const int32x4_t zero = vdupq_n_s32(codes.zero - kShift), top = vdupq_n_s32(127), bottom = vdupq_n_s32(-128);
    for (int input = 0; input < padded_inputs; input += kLanes) {
        float32x4_t smooth = vdupq_n_f32(0);
        if (input < whole) {
            smooth = vmulq_f32(vld1q_f32(x + input), vld1q_f32(columns + input));
        } else {
            for (int at = input; at < inputs; ++at) {
                smooth[at - input] = x[at] * columns[at];
            }
        }
        const int32x4_t rounded = vaddq_s32(vcvtnq_s32_f32(vmulq_n_f32(smooth, by)), zero);
        const int16x4_t narrow = vmovn_s32(vmaxq_s32(vminq_s32(rounded, top), bottom));
        const int8x8_t bytes = vmovn_s16(vcombine_s16(narrow, narrow));
        std::memcpy(to + input, &bytes, kLanes);
    }
    return size * codes.step;
}

inline Weights load_weights(const std::int8_t *from) { return vld1q_s8(from); }

// Not vdotq_s32: clang before 15 has it only in files that are compiled for it as a whole.
[[gnu::always_inline]] inline void add(Ints &sums, const Code *codes, Weights weights) {
    std::int32_t four;
    std::memcpy(&four, codes, sizeof four);
    asm("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(sums) : "w"(weights), "w"(four));
}

#include "eight_bits_vectors.h"

} // namespace neon_dot

const Pack kNeonPack = neon_dot::pack;

} // namespace trident
END_TARGET
#endif
