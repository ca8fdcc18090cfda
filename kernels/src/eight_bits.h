// Products in 8 bits, included once for each instruction set that can: each row of the input is rounded to 0 to 255 by
// its own range, the weights are integers from -128 to 127 with a scale for each output, and sums are exact in 32 bits.
// The integers are those of the 8-bit graph (trident_export.graphs.int8): both differ by the rounding of floats only.
//
// What includes it is in namespace trident::INSTRUCTIONS, chose its target, and defines there
//   kLanes, kRows                 outputs of a vector; rows of a tile
//   kGroup                        inputs that one instruction multiplies and adds
//   Code, kShift                  a rounded input: its integer less kShift
//   Weights load_weights(from)    kGroup weights of each of kLanes outputs
//   void add(Ints &sums, const Code *codes, Weights)  the products of a group of inputs and their weights
//   float quantize(codes, x, inputs, to, padded_inputs)  rounds a row: the integers to, and what one step of them is

constexpr int kColumns = 2 * kLanes;                                // of a panel
constexpr int kStep = 64 / (kColumns * kGroup) > 1 ? 64 / (kColumns * kGroup) : 1; // groups that fill a cache line
constexpr int kPadding = 16;                                        // inputs are filled up with zeros to a multiple
constexpr int kAhead = 16384; // bytes between weights that are used and those that are fetched

static_assert(kPadding % (kStep * kGroup) == 0, "a row of inputs has whole steps");

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float)), may_alias)); // in their places, aligned
typedef float UnalignedFloats __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

// y = sums, less what the zero of the inputs added, by their scales, and the bias.
[[gnu::always_inline]] inline void finish(Ints sums, const Product &product, int column, float size, float *y) {
    const Ints offset = *reinterpret_cast<const Ints *>(product.codes->offsets.get() + column);
    const Floats scale = *reinterpret_cast<const Floats *>(product.codes->scales.get() + column);
    const Floats bias = *reinterpret_cast<const Floats *>(product.bias.get() + column);
    const Floats found = __builtin_convertvector(sums - offset, Floats) * (scale * size) + bias;
    *reinterpret_cast<UnalignedFloats *>(y + column) = found;
}

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

inline int padded(int inputs) { return (inputs + kPadding - 1) / kPadding * kPadding; }

void multiply(const Product &product, const float *x, int tokens, float *y) {
    const Codes &codes = *product.codes;
    const int padded_inputs = padded(product.inputs);
    thread_local Aligned<Code> rounded;
    thread_local Aligned<float> sizes;
    thread_local std::size_t held = 0, held_sizes = 0;
    const std::size_t needed = static_cast<std::size_t>(tokens) * padded_inputs;
    if (held < needed) {
        rounded = aligned<Code>(needed);
        held = needed;
    }
    if (held_sizes < static_cast<std::size_t>(tokens)) {
        sizes = aligned<float>(tokens);
        held_sizes = tokens;
    }
    for (int token = 0; token < tokens; ++token) {
        sizes[token] = quantize(codes, x + static_cast<std::size_t>(token) * product.inputs, product.inputs,
                                rounded.get() + static_cast<std::size_t>(token) * padded_inputs, padded_inputs);
    }
    for (int column = 0; column < product.padded_outputs; column += kColumns) {
        const std::int8_t *panel = codes.panels.get() + static_cast<std::size_t>(column) * padded_inputs;
        in_tiles(tokens, kRows, [&](int from, int to) {
            kTiles[to - from - 1](rounded.get() + static_cast<std::size_t>(from) * padded_inputs, padded_inputs, panel,
                                  product, column, sizes.get() + from,
                                  y + static_cast<std::size_t>(from) * product.padded_outputs);
        });
    }
}

Codes pack(const Product &product, const std::int8_t *weights, const float *scales, const float *columns, float step,
           int zero) {
    const int inputs = product.inputs, padded_inputs = padded(inputs);
    Codes codes;
    codes.step = step;
    codes.zero = zero;
    codes.multiply = multiply;
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
    return codes;
}
