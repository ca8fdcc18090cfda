// Embeds rows of tokens by every kernel of the processor that it runs on, without Python.
//
//     encoder_program INPUT OUTPUT
//
// writes OUTPUT.NAME.float32 and, where the processor can, OUTPUT.NAME.8bits, (rows, D) float32, and prints their names;
// it fails where a row has other bits by itself than among others.
#include "model.h"
#include "reading.h"

#include <algorithm>
#include <string>

using namespace trident;

namespace {

struct Integers {
    std::vector<std::int8_t> weights;
    std::vector<float> scales, columns, step;
    std::vector<std::int32_t> zero;
};

// A linear layer of the file, packed for the kernel: weights (outputs, inputs), bias, and the same in 8 bits.
Product linear(Numbers &numbers, const Kernel &kernel, int outputs, int inputs, bool in_8_bits) {
    const std::size_t size = static_cast<std::size_t>(outputs) * inputs;
    const auto weights = numbers.take<float>(size), bias = numbers.take<float>(outputs);
    const Integers integers = {numbers.take<std::int8_t>(size), numbers.take<float>(outputs),
                               numbers.take<float>(inputs), numbers.take<float>(1), numbers.take<std::int32_t>(1)};
    Product product;
    product.inputs = inputs;
    product.outputs = outputs;
    product.padded_outputs = (outputs + kernel.columns - 1) / kernel.columns * kernel.columns;
    product.bias = aligned<float>(product.padded_outputs);
    std::copy(bias.begin(), bias.end(), product.bias.get());
    if (in_8_bits) {
        eight_bits(kernel)(product, integers.weights.data(), integers.scales.data(), integers.columns.data(),
                           integers.step[0], integers.zero[0]);
        return product;
    }
    product.panels = aligned<float>(static_cast<std::size_t>(product.padded_outputs) * inputs);
    for (int output = 0; output < outputs; ++output) {
        float *to = product.panels.get() +
                    static_cast<std::size_t>(output / kernel.columns) * kernel.columns * inputs +
                    output % kernel.columns;
        for (int input = 0; input < inputs; ++input) {
            to[static_cast<std::size_t>(input) * kernel.columns] =
                weights[static_cast<std::size_t>(output) * inputs + input];
        }
    }
    if (kernel.pack != nullptr) {
        kernel.pack(product);
    }
    return product;
}

Norm norm(Numbers &numbers, int width) {
    auto weight = numbers.take<float>(width);
    return {std::move(weight), numbers.take<float>(width)};
}

bool embed(const char *input, const std::string &output, const Kernel &kernel, bool in_8_bits) {
    Numbers numbers(input);
    const auto sizes = numbers.take<std::int32_t>(8);
    Model model;
    model.width = sizes[0];
    model.heads = sizes[1];
    model.inner = sizes[2];
    model.vocabulary = sizes[3];
    model.positions = sizes[4];
    const int layers = sizes[5], rows = sizes[6];
    model.mean = sizes[7] != 0;
    model.epsilon = numbers.take<float>(1)[0];
    const auto words = numbers.take<float>(static_cast<std::size_t>(model.vocabulary) * model.width);
    model.words = words.data();
    model.places = numbers.take<float>(static_cast<std::size_t>(model.positions) * model.width);
    model.norm = norm(numbers, model.width);
    for (int number = 0; number < layers; ++number) {
        Layer layer;
        layer.query_key_value = linear(numbers, kernel, 3 * model.width, model.width, in_8_bits);
        layer.attended = linear(numbers, kernel, model.width, model.width, in_8_bits);
        layer.attended_norm = norm(numbers, model.width);
        layer.up = linear(numbers, kernel, model.inner, model.width, in_8_bits);
        layer.down = linear(numbers, kernel, model.width, model.inner, in_8_bits);
        layer.down_norm = norm(numbers, model.width);
        model.layers.push_back(std::move(layer));
    }
    const auto lengths = numbers.take<std::int32_t>(rows);
    std::size_t tokens = 0;
    for (const int length : lengths) {
        tokens += static_cast<std::size_t>(length);
    }
    const auto ids = numbers.take<std::int32_t>(tokens);
    std::vector<float> together(static_cast<std::size_t>(rows) * model.width), alone(together.size());
    Gang one;
    kernel.forward(model, {ids.data(), lengths.data(), nullptr, rows}, together.data(), one, 0);
    const std::int32_t *from = ids.data();
    Gang two;
    two.members = 2;
    for (int row = 0; row < rows; from += lengths[row++]) {
        float *to = alone.data() + static_cast<std::size_t>(row) * model.width;
        const Rows own = {from, lengths.data() + row, nullptr, 1};
        std::thread second([&] { kernel.forward(model, own, to, two, 1); });
        kernel.forward(model, own, to, two, 0);
        second.join();
    }
    const std::string name = std::string(kernel.name) + (in_8_bits ? ".8bits" : ".float32");
    std::FILE *to = std::fopen((output + "." + name).c_str(), "wb");
    if (to == nullptr) {
        std::perror(output.c_str());
        std::exit(2);
    }
    write(to, together.data(), together.size());
    std::fclose(to);
    std::printf("%s\n", name.c_str());
    const bool same = std::memcmp(together.data(), alone.data(), together.size() * sizeof(float)) == 0;
    if (!same) {
        std::fprintf(stderr, "%s: a row has other bits by itself than among others\n", name.c_str());
    }
    return same;
}

} // namespace

int main(int count, char **arguments) {
    if (count != 3) {
        std::fprintf(stderr, "encoder_program INPUT OUTPUT\n");
        return 2;
    }
    bool same = true;
    for (const Kernel *kernel : kernels()) {
        same &= embed(arguments[1], arguments[2], *kernel, false);
        if (eight_bits(*kernel) != nullptr) {
            same &= embed(arguments[1], arguments[2], *kernel, true);
        }
    }
    return same ? 0 : 1;
}
