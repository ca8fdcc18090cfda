// What products in 8 bits have in common, included once for each instruction set that can: each row of the input is
// rounded to 0 to 255 by its own range, the weights are integers from -128 to 127 with a scale for each output, and
// sums are exact in 32 bits. The integers are those of the 8-bit graph (trident_export.graphs.int8): both differ by the
// rounding of floats only.
//
// What includes it is in namespace trident::INSTRUCTIONS, chose its target, and defines there
//   kLanes                        outputs of a vector
//   kGroup                        inputs that one instruction multiplies and adds
//   kPadding                      inputs are filled up with zeros to a multiple
//   Code                          a rounded input: its integer, less kShift where vectors say so
//   Ints                          sums of kLanes outputs
//   float quantize(codes, x, inputs, to, padded_inputs)  rounds a row: the integers to, and what one step of them is

constexpr int kColumns = 2 * kLanes; // of a panel

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

inline int padded(int inputs) { return (inputs + kPadding - 1) / kPadding * kPadding; }

// Rows of an input, rounded: their codes, a pitch apart, and what one step of them is.
struct Rounded {
    const Code *codes;
    const float *sizes;
};

// Returns what lasts until this thread's next call.
inline Rounded round_rows(const Product &product, const float *x, int tokens, int pitch) {
    thread_local Aligned<Code> rounded;
    thread_local Aligned<float> sizes;
    thread_local std::size_t held = 0, held_sizes = 0;
    const std::size_t needed = static_cast<std::size_t>(tokens) * pitch;
    if (held < needed) {
        rounded = aligned<Code>(needed);
        held = needed;
    }
    if (held_sizes < static_cast<std::size_t>(tokens)) {
        sizes = aligned<float>(tokens);
        held_sizes = tokens;
    }
    for (int token = 0; token < tokens; ++token) {
        sizes[token] = quantize(*product.codes, x + static_cast<std::size_t>(token) * product.inputs, product.inputs,
                                rounded.get() + static_cast<std::size_t>(token) * pitch, padded(product.inputs));
    }
    return {rounded.get(), sizes.get()};
}
