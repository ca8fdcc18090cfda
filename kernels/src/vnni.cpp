// Products in 8 bits, for processors with AVX-512 VNNI: each row of the input is rounded to 0 to 255 by its own range,
// the weights are integers from -128 to 127 with a scale for each output, and sums are exact in 32 bits.
//
// The integers are those of the 8-bit graph (trident_export.graphs.int8): both differ by the rounding of floats only.
#include "model.h"

#include <algorithm>
#include <cmath>
#include <immintrin.h>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")

namespace trident {
namespace {

constexpr int kLanes = 16;
constexpr int kColumns = 2 * kLanes; // of a panel
constexpr int kGroup = 4;            // inputs that one instruction multiplies and adds
constexpr int kRows = 12;            // of a tile
constexpr int kAhead = 16384;        // bytes between weights that are used and those that are fetched
constexpr float kSmallest = 1e-6f;   // a row of smaller numbers counts as zeros

// Rounds a row: codes = round(x columns / size / step) + zero, size being the largest magnitude of x columns.
float quantize(const Codes &codes, const float *x, int inputs, std::uint8_t *to, int padded_inputs) {
    __m512 largest = _mm512_setzero_ps();
    for (int input = 0; input < inputs; input += kLanes) {
        const __mmask16 inside = _cvtu32_mask16(inputs - input >= kLanes ? 0xffff : (1u << (inputs - input)) - 1);
        const __m512 smooth = _mm512_mul_ps(_mm512_maskz_loadu_ps(inside, x + input),
                                            _mm512_maskz_loadu_ps(inside, codes.columns.get() + input));
        largest = _mm512_max_ps(largest, _mm512_abs_ps(smooth));
    }
    const float size = std::max(_mm512_reduce_max_ps(largest), kSmallest);
    const __m512 by = _mm512_set1_ps(1.0f / (size * codes.step));
    const __m512i zero = _mm512_set1_epi32(codes.zero), top = _mm512_set1_epi32(255);
    for (int input = 0; input < padded_inputs; input += kLanes) {
        const int left = inputs - input;
        const __mmask16 inside = _cvtu32_mask16(left >= kLanes ? 0xffff : left <= 0 ? 0 : (1u << left) - 1);
        const __m512 smooth = _mm512_mul_ps(_mm512_maskz_loadu_ps(inside, x + input),
                                            _mm512_maskz_loadu_ps(inside, codes.columns.get() + input));
        const __m512i rounded = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(smooth, by)), zero);
        const __m512i bounded = _mm512_max_epi32(_mm512_min_epi32(rounded, top), _mm512_setzero_si512());
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to + input), _mm512_cvtepi32_epi8(bounded));
    }
    return size * codes.step;
}

// y = sums, less what the zero of the inputs added, by their scales, and the bias: R rows of a vector's columns.
template <int R>
[[gnu::always_inline]] inline void finish_tile(const __m512i (&sums)[R], const Product &product, int column,
                                               const float *sizes, float *y) {
    const __m512i offset = _mm512_load_si512(product.codes->offsets.get() + column);
    const __m512 scale = _mm512_load_ps(product.codes->scales.get() + column);
    const __m512 bias = _mm512_load_ps(product.bias.get() + column);
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row) {
        const __m512 sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums[row], offset));
        const __m512 by = _mm512_mul_ps(scale, _mm512_set1_ps(sizes[row]));
        _mm512_storeu_ps(y + static_cast<std::size_t>(row) * product.padded_outputs + column,
                         _mm512_fmadd_ps(sum, by, bias));
    }
}

template <int R>
void multiply_tile(const std::uint8_t *x, int padded_inputs, const std::int8_t *panel, const Product &product,
                   int column, const float *sizes, float *y) {
    __m512i left_sums[R], right_sums[R];
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row) {
        left_sums[row] = right_sums[row] = _mm512_setzero_si512();
    }
    for (int input = 0; input < padded_inputs; input += kGroup) {
        const __m512i left = _mm512_load_si512(panel), right = _mm512_load_si512(panel + kColumns * kGroup / 2);
        _mm_prefetch(reinterpret_cast<const char *>(panel + kAhead), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char *>(panel + kAhead + kAlignment), _MM_HINT_T0);
        panel += kColumns * kGroup;
        // Not _mm512_dpbusd_epi32: GCC 12 copies its sums to memory and back, and the tile takes twice as long.
#pragma GCC unroll 12
        for (int row = 0; row < R; ++row) {
            std::int32_t four;
            __builtin_memcpy(&four, x + static_cast<std::size_t>(row) * padded_inputs + input, sizeof four);
            const __m512i group = _mm512_set1_epi32(four);
            asm("vpdpbusd %2, %1, %0" : "+v"(left_sums[row]) : "v"(group), "v"(left));
            asm("vpdpbusd %2, %1, %0" : "+v"(right_sums[row]) : "v"(group), "v"(right));
        }
    }
    finish_tile<R>(left_sums, product, column, sizes, y);
    finish_tile<R>(right_sums, product, column + kLanes, sizes, y);
}

using Tile = void (*)(const std::uint8_t *, int, const std::int8_t *, const Product &, int, const float *, float *);
template <int... R> constexpr std::array<Tile, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {multiply_tile<R + 1>...};
}
constexpr auto kTiles = tiles_of(std::make_integer_sequence<int, kRows>()); // of 1 row, 2, …

} // namespace

void multiply_8_bits(const Product &product, const float *x, int tokens, float *y) {
    const Codes &codes = *product.codes;
    const int padded_inputs = (product.inputs + kLanes - 1) / kLanes * kLanes;
    thread_local std::vector<std::uint8_t> rounded;
    thread_local std::vector<float> sizes;
    if (rounded.size() < static_cast<std::size_t>(tokens) * padded_inputs) {
        rounded.resize(static_cast<std::size_t>(tokens) * padded_inputs);
    }
    if (sizes.size() < static_cast<std::size_t>(tokens)) {
        sizes.resize(tokens);
    }
    for (int token = 0; token < tokens; ++token) {
        sizes[token] = quantize(codes, x + static_cast<std::size_t>(token) * product.inputs, product.inputs,
                                rounded.data() + static_cast<std::size_t>(token) * padded_inputs, padded_inputs);
    }
    for (int column = 0; column < product.padded_outputs; column += kColumns) {
        const std::int8_t *panel = codes.panels.get() + static_cast<std::size_t>(column) * padded_inputs;
        in_tiles(tokens, kRows, [&](int from, int to) {
            kTiles[to - from - 1](rounded.data() + static_cast<std::size_t>(from) * padded_inputs, padded_inputs, panel,
                                  product, column, sizes.data() + from,
                                  y + static_cast<std::size_t>(from) * product.padded_outputs);
        });
    }
}

Codes pack_8_bits(const Product &product, const std::int8_t *weights, const float *scales, const float *columns,
                  float step, int zero) {
    const int inputs = product.inputs, padded_inputs = (inputs + kLanes - 1) / kLanes * kLanes;
    Codes codes;
    codes.step = step;
    codes.zero = zero;
    codes.panels = aligned<std::int8_t>(static_cast<std::size_t>(product.padded_outputs) * padded_inputs);
    codes.offsets = aligned<std::int32_t>(product.padded_outputs);
    codes.scales = aligned<float>(product.padded_outputs);
    codes.columns = aligned<float>(inputs);
    std::copy(columns, columns + inputs, codes.columns.get());
    for (int output = 0; output < product.outputs; ++output) {
        codes.scales[output] = scales[output];
        std::int8_t *panel =
            codes.panels.get() + static_cast<std::size_t>(output / kColumns) * kColumns * padded_inputs;
        std::int32_t sum = 0;
        for (int input = 0; input < inputs; ++input) {
            const std::int8_t weight = weights[static_cast<std::size_t>(output) * inputs + input];
            panel[(input / kGroup * kColumns + output % kColumns) * kGroup + input % kGroup] = weight;
            sum += weight;
        }
        codes.offsets[output] = sum * zero;
    }
    return codes;
}

} // namespace trident
