// Products in float32 for processors with AMX. Its tiles multiply bfloat16, of 8 bits: an input and a weight are split
// into two such numbers each, and of the four products the three larger ones are added in float32. What is lost is
// 2^-16 of a product, where one bfloat16 alone loses 2^-8.
//
// Source: Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision
// Computations", for sums of products of parts.
#if defined(__x86_64__)
#include "model.h"
#include "target.h"

#include <asm/prctl.h>
#include <cstring>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")

namespace trident {
namespace amx {

#include "amx.h"

constexpr int kColumns = 32;                                                  // of a panel
constexpr int kStep = kTileBytes / sizeof(std::uint16_t);                     // inputs of a row of a tile
constexpr std::size_t kTile = kTileRows * kTileBytes / sizeof(std::uint16_t); // numbers of a tile
constexpr int kAhead = 8192; // numbers between weights that are used and those that are fetched

inline int padded(int inputs) { return (inputs + kStep - 1) / kStep * kStep; }

// Rows of an input as sums of two bfloat16, in the order in which tiles take them: of each pair of tiles, for each step
// of inputs, the higher parts of the first rows and of the second ones, and their lower parts.
inline __m512 widen(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// Writes the parts of one row; a step's tiles lie 4 tiles behind those of the step before.
inline void split(const float *x, int inputs, std::uint16_t *to) {
    for (int input = 0; input < padded(inputs); input += 16) {
        const int left = inputs - input;
        const __mmask16 inside = _cvtu32_mask16(left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1);
        const __m512 whole = _mm512_maskz_loadu_ps(inside, x + input);
        const __m256i high = (__m256i)_mm512_cvtneps_pbh(whole);
        const __m256i low = (__m256i)_mm512_cvtneps_pbh(_mm512_sub_ps(whole, widen(high)));
        std::uint16_t *at = to + input / kStep * 4 * kTile + input % kStep;
        _mm256_store_si256(reinterpret_cast<__m256i *>(at), high);
        _mm256_store_si256(reinterpret_cast<__m256i *>(at + 2 * kTile), low);
    }
}

// Returns rows in that order, which last until this thread's next call.
const std::uint16_t *split_rows(const float *x, int tokens, int inputs) {
    const std::size_t pair = static_cast<std::size_t>(padded(inputs) / kStep) * 4 * kTile;
    const std::size_t needed = static_cast<std::size_t>((tokens + 2 * kTileRows - 1) / (2 * kTileRows)) * pair;
    thread_local Aligned<std::uint16_t> memory;
    thread_local std::size_t held = 0;
    if (held < needed) {
        memory = aligned<std::uint16_t>(needed);
        held = needed;
    }
    std::uint16_t *to = memory.get();
    in_pairs(tokens, [&](int from, int first, int second) {
        for (int row = 0; row < first + second; ++row) {
            split(x + static_cast<std::size_t>(from + row) * inputs, inputs,
                  to + (row < first ? row * kStep : kTile + (row - first) * kStep));
        }
        to += pair;
    });
    return memory.get();
}

// The sums of a panel's columns for at most 16 rows, or for two times as many.
template <bool Two>
[[gnu::always_inline]] inline void multiply_pair(const std::uint16_t *x, int steps, const std::uint16_t *panel,
                                                 bool fetch) {
    for (int step = 0; step < steps; ++step, panel += 4 * kTile, x += 4 * kTile) {
        if (fetch) {
            for (std::size_t line = 0; line < 4 * kTile; line += kAlignment / sizeof(std::uint16_t)) {
                __builtin_prefetch(panel + kAhead + line);
            }
        }
        _tile_loadd(4, x, kTileBytes);
        _tile_loadd(6, panel, kTileBytes); // the lower parts of the weights
        _tile_dpbf16ps(0, 4, 6);
        if (Two) {
            _tile_loadd(5, x + kTile, kTileBytes);
            _tile_dpbf16ps(2, 5, 6);
        }
        _tile_loadd(7, panel + kTile, kTileBytes);
        _tile_dpbf16ps(1, 4, 7);
        if (Two) {
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_loadd(6, panel + 2 * kTile, kTileBytes); // the higher parts
        _tile_dpbf16ps(0, 4, 6);
        if (Two) {
            _tile_dpbf16ps(2, 5, 6);
        }
        _tile_loadd(7, panel + 3 * kTile, kTileBytes);
        _tile_dpbf16ps(1, 4, 7);
        if (Two) {
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_loadd(4, x + 2 * kTile, kTileBytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (Two) {
            _tile_loadd(5, x + 3 * kTile, kTileBytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
}

void multiply(const Product &product, const float *x, int tokens, float *y, Columns columns) {
    const std::uint16_t *rows = split_rows(x, tokens, product.inputs);
    const int steps = padded(product.inputs) / kStep;
    const std::size_t pair = static_cast<std::size_t>(steps) * 4 * kTile;
    const std::size_t y_width = product.padded_outputs, y_bytes = y_width * sizeof(float);
    const std::uint16_t *panel = product.halves.get() + columns.from / kColumns * pair;
    TileShapes shapes;
    for (int column = columns.from; column < columns.to; column += kColumns, panel += pair) {
        const float *bias = product.bias.get() + column;
        const std::uint16_t *from_rows = rows;
        in_pairs(tokens, [&](int from, int first, int second) {
            shapes.become(first, second);
            float *to = y + from * y_width + column;
            _tile_loadd(0, bias, 0); // each row is the bias
            _tile_loadd(1, bias + kColumns / 2, 0);
            if (second == 0) {
                multiply_pair<false>(from_rows, steps, panel, true);
            } else {
                _tile_loadd(2, bias, 0);
                _tile_loadd(3, bias + kColumns / 2, 0);
                multiply_pair<true>(from_rows, steps, panel, from == 0);
                _tile_stored(2, to + first * y_width, y_bytes);
                _tile_stored(3, to + first * y_width + kColumns / 2, y_bytes);
            }
            _tile_stored(0, to, y_bytes);
            _tile_stored(1, to + kColumns / 2, y_bytes);
            from_rows += pair;
        });
    }
    _tile_release();
}

inline std::uint16_t half_of(float number) {
    std::uint32_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16); // to the nearest, the even one of two
}

inline float number_of(std::uint16_t half) {
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
    float number;
    std::memcpy(&number, &bits, sizeof number);
    return number;
}

// A panel holds, for each step of inputs, the lower parts of its first and last 16 columns, and the higher parts; a row
// of a tile holds two inputs of each column.
void pack(Product &product) {
    const int inputs = product.inputs, steps = padded(inputs) / kStep;
    const std::size_t panels = product.padded_outputs / kColumns;
    product.halves = aligned<std::uint16_t>(panels * steps * 4 * kTile);
    for (std::size_t panel = 0; panel < panels; ++panel) {
        const float *from = product.panels.get() + panel * inputs * kColumns;
        for (int input = 0; input < inputs; ++input) {
            for (int column = 0; column < kColumns; ++column) {
                const float weight = from[static_cast<std::size_t>(input) * kColumns + column];
                std::uint16_t *to = product.halves.get() + (panel * steps + input / kStep) * 4 * kTile +
                                    column / kTileRows * kTile + input % kStep / 2 * kStep + column % kTileRows * 2 +
                                    input % 2;
                const std::uint16_t high = half_of(weight);
                to[0] = half_of(weight - number_of(high));
                to[2 * kTile] = high;
            }
        }
    }
    product.panels.reset();
    product.multiply = multiply;
}

} // namespace amx

const Kernel kAmx = {"amx", amx::kColumns, kAvx512.forward, 192, amx::pack};

// Asked for once: Linux saves what the tiles hold for those processes only that said that they use them.
bool tiles_allowed() {
    constexpr long kTileData = 18;
    static const bool allowed = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, kTileData) == 0;
    return allowed;
}

} // namespace trident
END_TARGET
#endif
