// A BERT or ModernBERT encoder as the kernels run it, and what each of them offers. See forward.h for the computation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "gang.h"

namespace trident {

constexpr std::size_t kAlignment = 64; // of a cache line, and of the widest vector

struct Free {
    void operator()(void *memory) const { std::free(memory); }
};
template <typename T> using Aligned = std::unique_ptr<T[], Free>;

// Returns zeros.
template <typename T> Aligned<T> aligned(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    void *memory = std::aligned_alloc(kAlignment, bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    std::memset(memory, 0, bytes);
    return Aligned<T>(static_cast<T *>(memory));
}

// The weights of a product in 8 bits. See eight_bits.h.
struct Codes {
    Aligned<std::int8_t> panels;   // some inputs of each output side by side, as many as an instruction multiplies
    Aligned<std::int32_t> offsets; // what the zero of the inputs adds to each output's sum
    Aligned<float> scales;         // of each output
    Aligned<float> columns;        // that each input is multiplied by, before it is rounded
    float step = 0;                // between the integers of an input that lies between -1 and 1
    int zero = 0;                  // the integer of 0
};

// The columns of a product that are computed: whole panels.
struct Columns {
    int from, to;
};

// y = x W + b. The weights lie in panels of so many columns as a kernel computes at a time, row after row, so that they
// are read from front to back; the last panel is filled up with zeros, and so is the bias.
struct Product {
    int inputs = 0;
    int outputs = 0;
    int padded_outputs = 0; // a multiple of the panel's columns
    Aligned<float> panels;  // null where there are codes or halves
    Aligned<float> bias;
    std::unique_ptr<Codes> codes;  // null in float32
    Aligned<std::uint16_t> halves; // the weights as sums of two bfloat16, see amx.cpp; null: they are in panels
    // null: by panels
    void (*multiply)(const Product &product, const float *x, int tokens, float *y, Columns columns) = nullptr;
};

// Calls run(from, to) for tokens in tiles of at most so many rows, and of about as many each.
template <typename Run> void in_tiles(int tokens, int rows, Run run) {
    const int tiles = (tokens + rows - 1) / rows;
    for (int tile = 0; tile < tiles; ++tile) {
        run(static_cast<int>(static_cast<long>(tokens) * tile / tiles),
            static_cast<int>(static_cast<long>(tokens) * (tile + 1) / tiles));
    }
}

struct Norm {
    std::vector<float> weight;
    std::vector<float> bias;
};

// What queries and keys are turned by: cosines and sines, (positions, half a head's width) each.
struct Rotation {
    std::vector<float> cosines;
    std::vector<float> sines;
};

struct Layer {
    Product query_key_value;
    Product attended;
    Norm attended_norm; // of what is fed forward
    Product up;
    Product down;
    Norm down_norm;                           // of what the next layer reads, or pooling
    std::shared_ptr<const Rotation> rotation; // null: places are added to the words
    int window = -1;                          // tokens on each side that one looks at; -1: all
};

// What a reranker has on top: the logit is the product of the pooler's tanh and a row of weights.
struct Head {
    Product pooler;
    std::vector<float> weights; // (D)
    float bias = 0;
};

struct Model {
    int width = 0; // D
    int heads = 0;
    int inner = 0; // of the feed-forward network
    int vocabulary = 0;
    int positions = 0;
    float epsilon = 0;             // of the layer normalisations
    bool mean = true;              // pooling: mean of the tokens, or the first one
    bool norm_first = false;       // layers add to what was not normalised; the first one reads the embeddings
    bool gated = false;            // the feed-forward network: GELU of its first half times the second
    const float *words = nullptr;  // (vocabulary, D), owned by the caller
    std::vector<float> places;     // (positions, D), with the embedding of the first token type added; empty: none
    int padding = -1;              // the id of tokens that have a place of their own, and are not counted; -1: none
    std::vector<float> at_padding; // (D), that place
    std::vector<float> second; // (D), what a token of the second type has more than one of the first; empty: nothing
    Norm norm;
    std::vector<Layer> layers;
    std::unique_ptr<Head> head; // null: an encoder
};

// Rows of token ids that lie one after the other; of a pair the first tokens are the query's, of the first type.
struct Rows {
    const std::int32_t *ids;
    const int *lengths;
    const int *firsts; // tokens of the first type in each row; null: all
    int count;
    const float *states = nullptr; // (tokens, D), what the layers read instead of the ids' embeddings; null: the ids
    bool pooled = true;            // false: what the last layer leaves of each token is wanted
};

// Writes the embeddings (count, D), unit length, or with a head the logits (count); not pooled: (tokens, D). Every member
// of a gang calls it with the same rows; the first one, number 0, writes.
using Forward = void (*)(const Model &model, const Rows &rows, float *output, Gang &gang, int member);

struct Kernel {
    const char *name;
    int columns; // of a panel
    Forward forward;
    int run_tokens = 96; // that go through all layers together, so that what lies between stays in the cache
    void (*pack)(Product &) = nullptr; // takes weights out of panels, for a multiply of its own; null: they stay
};

// Makes codes of weights (outputs, inputs), for the panels of a kernel.
using Pack = void (*)(Product &product, const std::int8_t *weights, const float *scales, const float *columns,
                      float step, int zero);

#if defined(__x86_64__)
extern const Kernel kAmx;
extern const Kernel kAvx512;
extern const Kernel kAvx2;
extern const Pack kAmxPack;
extern const Pack kVnniPack;
extern const Pack kAvx2Pack;
constexpr int kVnniPadding = 64; // inputs are filled up with zeros to a multiple: a row of a tile of AMX
void multiply_by_vnni(const Product &product, const float *x, int tokens, float *y, Columns columns);
// Whether the system lets this process use the tiles of AMX.
bool tiles_allowed();
#elif defined(__aarch64__)
extern const Kernel kNeon;
extern const Pack kNeonPack;
#endif

// The kernels that this processor runs, the fastest first.
std::vector<const Kernel *> kernels();
// What a kernel computes in 8 bits with here; null: this processor cannot.
Pack eight_bits(const Kernel &kernel);

} // namespace trident
