// Products in 8 bits by tiles of at most kRows rows and two vectors of columns, whose sums stay in registers; included
// once for each instruction set whose sums lie in vectors. What includes it defines, beside what eight_bits.h asks for,
//   kRows                         rows of a tile
//   kShift                        what a rounded input is less than its integer
//   Weights load_weights(from)    kGroup weights of each of kLanes outputs
//   void add(Ints &sums, const Code *codes, Weights)  the products of a group of inputs and their weights

#include "eight_bits.h"

constexpr int kStep = 64 / (kColumns * kGroup) > 1 ? 64 / (kColumns * kGroup) : 1; // groups that fill a cache line
constexpr int kAhead = 16384; // bytes between weights that are used and those that are fetched

static_assert(kPadding % (kStep * kGroup) == 0, "a row of inputs has whole steps");

template <int R>
void multiply_tile(const Code *x, int padded_inputs, const std::int8_t *panel, const Product &product, int column,
                   const float *sizes, float *y) {
    Ints left_sums[R], right_sums[R];
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row) {
        left_sums[row] = right_sums[row] = Ints{};
    }
    for (int input = 0; input < padded_inputs; input += kStep * kGroup) {
        for (int line = 0; line < kColumns * kGroup * kStep; line += static_cast<int>(kAlignment)) {
            __builtin_prefetch(panel + kAhead + line);
        }
#pragma GCC unroll 2
        for (int step = 0; step < kStep; ++step) {
            const Weights left = load_weights(panel), right = load_weights(panel + kLanes * kGroup);
            panel += kColumns * kGroup;
#pragma GCC unroll 12
            for (int row = 0; row < R; ++row) {
                const Code *codes = x + static_cast<std::size_t>(row) * padded_inputs + input + step * kGroup;
                add(left_sums[row], codes, left);
                add(right_sums[row], codes, right);
            }
        }
    }
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row) {
        float *to = y + static_cast<std::size_t>(row) * product.padded_outputs;
        finish(left_sums[row], product, column, sizes[row], to);
        finish(right_sums[row], product, column + kLanes, sizes[row], to);
    }
}

using Tile = void (*)(const Code *, int, const std::int8_t *, const Product &, int, const float *, float *);
template <int... R> constexpr std::array<Tile, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {multiply_tile<R + 1>...};
}
constexpr auto kTiles = tiles_of(std::make_integer_sequence<int, kRows>()); // of 1 row, 2, …

void multiply(const Product &product, const float *x, int tokens, float *y, Columns columns) {
    const int padded_inputs = padded(product.inputs);
    const Rounded rows = round_rows(product, x, tokens, padded_inputs);
    for (int column = columns.from; column < columns.to; column += kColumns) {
        const std::int8_t *panel = product.codes->panels.get() + static_cast<std::size_t>(column) * padded_inputs;
        in_tiles(tokens, kRows, [&](int from, int to) {
            kTiles[to - from - 1](rows.codes + static_cast<std::size_t>(from) * padded_inputs, padded_inputs, panel,
                                  product, column, rows.sizes + from,
                                  y + static_cast<std::size_t>(from) * product.padded_outputs);
        });
    }
}

void pack(Product &product, const std::int8_t *weights, const float *scales, const float *columns, float step,
          int zero) {
    const int inputs = product.inputs, padded_inputs = padded(inputs);
    product.codes = std::make_unique<Codes>();
    product.multiply = multiply;
    Codes &codes = *product.codes;
    codes.step = step;
    codes.zero = zero;
    codes.panels = aligned<std::int8_t>(static_cast<std::size_t>(product.padded_outputs) * padded_inputs);
    codes.offsets = aligned<std::int32_t>(product.padded_outputs);
    codes.scales = aligned<float>(product.padded_outputs);
    codes.columns = aligned<float>(padded_inputs);
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
        codes.offsets[output] = sum * (zero - kShift);
    }
}
