// The encoder's computation, included once for each instruction set: with LANES floats in a vector, and tiles of at
// most ROWS rows and two vectors of columns, whose sums stay in registers.
//
// A row's sums are added in the same order whatever else is in the batch: its embedding does not depend on that.
// No padding is computed: rows of tokens lie one after the other, and attention looks at each row's own.
//
// Sources: Goto and van de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication", for panels and tiles;
// Devlin et al. 2018, BERT, for the encoder; Warner et al. 2024, ModernBERT; Su et al. 2021, RoFormer, for rotation.

#include <algorithm>
#include <cstring>

#include "model.h"

namespace trident {
namespace INSTRUCTIONS {

#include "vectors.h"

#include "attention.h"

// Floats between a weight that is used and the one that is fetched: those of a lone query come from afar and are used
// once. 16 KiB ahead took 0.75 ms for a query of MiniLM, nothing 1.2 (docs/log/kernels.md).
constexpr int kAhead = 4096;

// y[r] = x[r] W + b for R rows and a panel's columns.
template <int R>
void multiply_tile(const float *x, int width, const float *panel, const float *bias, float *y, int y_width) {
    const Vector first = load(bias), second = load(bias + LANES);
    Vector sums[R][2];
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row) {
        sums[row][0] = first;
        sums[row][1] = second;
    }
    for (int input = 0; input < width; ++input) {
        const Vector left = load(panel), right = load(panel + LANES);
        for (int line = 0; line < kColumns; line += kAlignment / sizeof(float)) {
            __builtin_prefetch(panel + kAhead + line);
        }
        panel += kColumns;
#pragma GCC unroll 12
        for (int row = 0; row < R; ++row) {
            const float factor = x[static_cast<std::size_t>(row) * width + input];
            sums[row][0] += factor * left;
            sums[row][1] += factor * right;
        }
    }
#pragma GCC unroll 12
    for (int row = 0; row < R; ++row) {
        store(y + static_cast<std::size_t>(row) * y_width, sums[row][0]);
        store(y + static_cast<std::size_t>(row) * y_width + LANES, sums[row][1]);
    }
}

using Tile = void (*)(const float *, int, const float *, const float *, float *, int);

template <int... R> constexpr std::array<Tile, sizeof...(R)> tiles_of(std::integer_sequence<int, R...>) {
    return {multiply_tile<R + 1>...};
}
constexpr auto kTiles = tiles_of(std::make_integer_sequence<int, ROWS>()); // of 1 row, 2, …

void multiply_by_panels(const Product &product, const float *x, int tokens, float *y, Columns columns) {
    for (int column = columns.from; column < columns.to; column += kColumns) {
        const float *panel = product.panels.get() + static_cast<std::size_t>(column) * product.inputs;
        in_tiles(tokens, ROWS, [&](int from, int to) {
            kTiles[to - from - 1](
                x + static_cast<std::size_t>(from) * product.inputs, product.inputs, panel, product.bias.get() + column,
                y + static_cast<std::size_t>(from) * product.padded_outputs + column, product.padded_outputs);
        });
    }
}

// y = x W + b: x is (tokens, inputs), y is (tokens, padded_outputs). Each member of the gang always computes the same
// columns, so that its core keeps their weights.
void multiply(const Product &product, const float *x, int tokens, float *y, Gang &gang, int member) {
    const int panels = product.padded_outputs / kColumns;
    const Columns columns = {panels * member / gang.members * kColumns, panels * (member + 1) / gang.members * kColumns};
    gang.meet(member); // x is there
    if (product.multiply != nullptr) {
        product.multiply(product, x, tokens, y, columns);
    } else {
        multiply_by_panels(product, x, tokens, y, columns);
    }
    gang.meet(member); // y is there
}

// x = x + y, to = norm(x), which may be x; y is as wide as its product's panels.
void add_and_normalize(const Model &model, const Norm &norm, const float *y, int y_width, int tokens, float *x,
                       float *to) {
    const int width = model.width, whole = width / LANES * LANES; // what is left over is added one by one
    for (int token = 0; token < tokens; ++token, x += width, to += width, y += y_width) {
        for (int column = 0; column < width; ++column) {
            x[column] += y[column];
        }
        Vector sums = {}, squares = {};
        for (int column = 0; column < whole; column += LANES) {
            sums += load(x + column);
        }
        float sum = sum_of(sums);
        for (int column = whole; column < width; ++column) {
            sum += x[column];
        }
        const float mean = sum / static_cast<float>(width);
        for (int column = 0; column < whole; column += LANES) {
            const Vector off = load(x + column) - mean;
            squares += off * off;
        }
        float variance = sum_of(squares);
        for (int column = whole; column < width; ++column) {
            variance += (x[column] - mean) * (x[column] - mean);
        }
        const float scale = 1.0f / __builtin_sqrtf(variance / static_cast<float>(width) + model.epsilon);
        for (int column = 0; column < whole; column += LANES) {
            store(to + column, (load(x + column) - mean) * scale * load(norm.weight.data() + column) +
                                   load(norm.bias.data() + column));
        }
        for (int column = whole; column < width; ++column) {
            to[column] = (x[column] - mean) * scale * norm.weight[column] + norm.bias[column];
        }
    }
}

// The embedding of one row: pooled, and of unit length.
void pool(const Model &model, const float *x, int tokens, float *embedding) {
    const int width = model.width;
    std::copy(x, x + width, embedding);
    for (int token = 1; model.mean && token < tokens; ++token) {
        for (int column = 0; column < width; ++column) {
            embedding[column] += x[static_cast<std::size_t>(token) * width + column];
        }
    }
    float squares = 0; // the sum has the direction of the mean
    for (int column = 0; column < width; ++column) {
        squares += embedding[column] * embedding[column];
    }
    const float scale = 1.0f / std::max(__builtin_sqrtf(squares), 1e-12f);
    for (int column = 0; column < width; ++column) {
        embedding[column] *= scale;
    }
}

// The logits of rows whose first tokens lie one after the other in x: pooled is (rows, padded outputs).
void judge(const Model &model, const float *x, int rows, float *pooled, float *logits) {
    const Head &head = *model.head;
    Gang alone; // a row or a few
    multiply(head.pooler, x, rows, pooled, alone, 0);
    for (int row = 0; row < rows; ++row, pooled += head.pooler.padded_outputs) {
        float sum = head.bias;
        for (int column = 0; column < model.width; ++column) {
            const float shrunk = exponential(-2.0f * __builtin_fabsf(pooled[column])); // e^-2|x|: the tanh by it
            sum += head.weights[column] * __builtin_copysignf((1.0f - shrunk) / (1.0f + shrunk), pooled[column]);
        }
        logits[row] = sum;
    }
}

void forward(const Model &model, const Rows &all_rows, float *output, Gang &gang, int member) {
    const std::int32_t *ids = all_rows.ids;
    const int *lengths = all_rows.lengths, rows = all_rows.count;
    const int width = model.width;
    int tokens = 0, longest = 0;
    for (int row = 0; row < rows; ++row) {
        tokens += lengths[row];
        longest = std::max(longest, lengths[row]);
    }
    const Layer &any = model.layers.front();
    const int joined_width = any.query_key_value.padded_outputs, inner_width = any.up.padded_outputs;
    const int out_width = any.attended.padded_outputs;
    const std::size_t all = tokens, across = (longest + LANES - 1) / LANES * LANES;
    const std::size_t sizes[] = {all * width,
                                 all * joined_width,
                                 all * width,
                                 all * out_width,
                                 all * inner_width,
                                 all * model.inner,
                                 across * (width / model.heads),
                                 kTogether * across,
                                 model.norm_first ? all * width : 0};
    std::size_t needed = 0;
    for (const std::size_t size : sizes) {
        needed += size;
    }
    const bool leads = member == 0; // and does what is no product
    if (leads) {
        thread_local Aligned<float> scratch;
        thread_local std::size_t held = 0;
        if (held < needed) {
            scratch.reset();
            held = 0;
            scratch = aligned<float>(needed);
            held = needed;
        }
        gang.scratch = scratch.get();
    }
    gang.meet(member);
    float *memory[9];
    float *place = gang.scratch;
    for (int part = 0; part < 9; ++part) {
        memory[part] = place;
        place += sizes[part];
    }
    auto [x, joined, context, out, inner, dense, keys, scores, normed] = memory;
    float *to = model.norm_first ? normed : x; // where layers leave what the next one reads

    for (int row = 0, token = 0; leads && all_rows.states == nullptr && row < rows; ++row) {
        for (int position = 0, counted = 0; position < lengths[row]; ++position, ++token) {
            const float *word = model.words + static_cast<std::size_t>(ids[token]) * width;
            std::copy(word, word + width, out + static_cast<std::size_t>(token) * width);
            float *sum = x + static_cast<std::size_t>(token) * width;
            if (model.places.empty()) {
                std::fill(sum, sum + width, 0.0f);
                continue;
            }
            const float *at = ids[token] == model.padding
                                  ? model.at_padding.data()
                                  : model.places.data() + static_cast<std::size_t>(counted++) * width;
            std::copy(at, at + width, sum);
            if (all_rows.firsts != nullptr && position >= all_rows.firsts[row]) {
                for (std::size_t column = 0; column < model.second.size(); ++column) {
                    sum[column] += model.second[column];
                }
            }
        }
    }
    if (leads && all_rows.states != nullptr) {
        std::copy_n(all_rows.states, all * width, x);
    } else if (leads) {
        add_and_normalize(model, model.norm, out, width, tokens, x, x);
    }
    const bool first_only = all_rows.pooled && !model.mean; // of the last layer's tokens only the first of each row is looked at
    for (const Layer &layer : model.layers) {
        multiply(layer.query_key_value, &layer == &any ? x : to, tokens, joined, gang, member);
        const bool cut = first_only && &layer == &model.layers.back();
        for (int row = 0, token = 0; leads && row < rows; token += lengths[row++]) {
            const std::size_t place = cut ? row : token;
            float *own = joined + static_cast<std::size_t>(token) * joined_width;
            if (layer.rotation) {
                rotate(model, *layer.rotation, joined_width, lengths[row], own);
            }
            attend(model, layer.window, own, joined_width, lengths[row], cut ? 1 : lengths[row], keys, scores,
                   context + place * width);
            if (cut) {
                std::copy_n(x + static_cast<std::size_t>(token) * width, width, x + place * width);
            }
        }
        if (cut) {
            tokens = rows;
        }
        multiply(layer.attended, context, tokens, out, gang, member);
        if (leads) {
            add_and_normalize(model, layer.attended_norm, out, out_width, tokens, x, to);
        }
        multiply(layer.up, to, tokens, inner, gang, member);
        for (int token = 0; leads && token < tokens; ++token) {
            const float *from = inner + static_cast<std::size_t>(token) * inner_width;
            float *active = dense + static_cast<std::size_t>(token) * model.inner;
            for (int column = 0; column < model.inner; ++column) {
                active[column] = gelu(from[column]);
            }
            for (int column = 0; model.gated && column < model.inner; ++column) {
                active[column] *= from[model.inner + column];
            }
        }
        multiply(layer.down, dense, tokens, out, gang, member);
        if (leads) {
            add_and_normalize(model, layer.down_norm, out, out_width, tokens, x, to);
        }
    }
    if (!leads) {
        return;
    }
    if (model.head) {
        judge(model, to, rows, joined, output);
        return;
    }
    if (!all_rows.pooled) {
        std::copy_n(to, all * width, output);
        return;
    }
    for (int row = 0, token = 0; row < rows; token += first_only ? 1 : lengths[row], ++row) {
        pool(model, to + static_cast<std::size_t>(token) * width, lengths[row],
             output + static_cast<std::size_t>(row) * width);
    }
}

} // namespace INSTRUCTIONS
} // namespace trident
