// Products in 8 bits for processors with AMX: the same sums as with AVX-512 VNNI, to the last bit.
#if defined(__x86_64__)
#include "model.h"
#include "target.h"

#include <algorithm>
#include <cstring>
#include <immintrin.h>

TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,amx-tile,amx-int8")

namespace trident {
namespace amx_eight {

#include "amx.h"

constexpr int kLanes = 16, kGroup = 4, kPadding = kVnniPadding;
using Code = std::uint8_t;
typedef std::int32_t Ints __attribute__((vector_size(64), may_alias));

#include "quantize_avx512.h"

#include "eight_bits.h"

constexpr std::size_t kStep = kTileBytes * kColumns; // weights of a panel that two tiles take
constexpr int kFewTokens = 12;                       // a vector's tile; 8 tokens take 0.48 ms by vectors, by tiles 0.56
constexpr int kAhead = 16384;                        // bytes between weights that are used and those that are fetched
constexpr int kPanelRow = kColumns * kGroup;         // bytes of a group of inputs

// As in amx.cpp.
template <bool Two>
[[gnu::always_inline]] inline void multiply_pair(const Code *x, std::size_t second, int pitch, int inputs,
                                                 const std::int8_t *panel, bool fetch) {
    _tile_zero(0);
    _tile_zero(1);
    if (Two) {
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int input = 0; input < inputs; input += kTileBytes, panel += kStep) {
        if (fetch) {
            for (std::size_t line = 0; line < kStep; line += kAlignment) {
                __builtin_prefetch(panel + kAhead + line);
            }
        }
        _tile_loadd(4, x + input, pitch);
        _tile_loadd(6, panel, kPanelRow);
        _tile_dpbusd(0, 4, 6);
        if (Two) {
            _tile_loadd(5, x + second + input, pitch);
            _tile_dpbusd(2, 5, 6);
        }
        _tile_loadd(7, panel + kTileBytes, kPanelRow);
        _tile_dpbusd(1, 4, 7);
        if (Two) {
            _tile_dpbusd(3, 5, 7);
        }
    }
}

void multiply_by_tiles(const Product &product, const float *x, int tokens, float *y, Columns columns) {
    const int inputs = padded(product.inputs), pitch = inputs + kTileBytes;
    const Rounded rows = round_rows(product, x, tokens, pitch);
    const std::size_t y_width = product.padded_outputs;
    TileShapes shapes;
    for (int column = columns.from; column < columns.to; column += kColumns) {
        const std::int8_t *panel = product.codes->panels.get() + static_cast<std::size_t>(column) * inputs;
        in_pairs(tokens, [&](int from, int first, int second) {
            shapes.become(first, second);
            const Code *codes = rows.codes + static_cast<std::size_t>(from) * pitch;
            alignas(64) std::int32_t sums[4][kTileRows][kLanes];
            if (second == 0) {
                multiply_pair<false>(codes, 0, pitch, inputs, panel, true);
            } else {
                multiply_pair<true>(codes, static_cast<std::size_t>(first) * pitch, pitch, inputs, panel, from == 0);
                _tile_stored(2, sums[2], kTileBytes);
                _tile_stored(3, sums[3], kTileBytes);
            }
            _tile_stored(0, sums[0], kTileBytes);
            _tile_stored(1, sums[1], kTileBytes);
            for (int row = 0; row < first + second; ++row) {
                const int pair = row < first ? 0 : 2, at = row < first ? row : row - first;
                float *to = y + (from + row) * y_width;
                for (int half = 0; half < 2; ++half) {
                    const Ints found = *reinterpret_cast<const Ints *>(sums[pair + half][at]);
                    finish(found, product, column + half * kLanes, rows.sizes[from + row], to);
                }
            }
        });
    }
    _tile_release();
}

// The weights lie as they do for vectors, which multiply few tokens: tiles would be next to empty.
void multiply(const Product &product, const float *x, int tokens, float *y, Columns columns) {
    (tokens <= kFewTokens ? multiply_by_vnni : multiply_by_tiles)(product, x, tokens, y, columns);
}

void pack_for_tiles(Product &product, const std::int8_t *weights, const float *scales, const float *columns, float step,
                    int zero) {
    kVnniPack(product, weights, scales, columns, step, zero);
    product.multiply = multiply;
}

} // namespace amx_eight

const Pack kAmxPack = amx_eight::pack_for_tiles;

} // namespace trident
END_TARGET
#endif
