// The Python module: checks what it is given, packs the weights, and runs the kernel of this processor.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model.h"

namespace py = pybind11;

namespace trident {
namespace {

using Array = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ids = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;

// What encoders have in common: words, pooling, the kernel, checks and runs.
class Encoder {
  public:
    Encoder(py::dict weights, const std::string &words, int heads, float epsilon, bool mean,
            const std::string &instructions, py::dict codes)
        : weights_(std::move(weights)), codes_(std::move(codes)) {
        for (const Kernel *kernel : kernels()) {
            if (kernel_ == nullptr && (instructions.empty() || instructions == kernel->name) &&
                (codes_.empty() || eight_bits(*kernel) != nullptr)) {
                kernel_ = kernel;
            }
        }
        if (kernel_ == nullptr) {
            throw std::invalid_argument("this processor must have " +
                                        (instructions.empty() ? "a kernel's instructions" : instructions) +
                                        (codes_.empty() ? "" : ", and compute in 8 bits with them"));
        }
        words_ = get(words, 2);
        model_.vocabulary = static_cast<int>(words_.shape(0));
        model_.width = static_cast<int>(words_.shape(1));
        model_.words = words_.data();
        model_.heads = heads;
        if (heads < 1 || model_.width % heads != 0) {
            throw std::invalid_argument("heads must divide the width, got " + std::to_string(heads) + " and " +
                                        std::to_string(model_.width));
        }
        model_.epsilon = epsilon;
        model_.mean = mean;
    }

    py::array_t<float> embed(const Ids &ids, const std::vector<int> &lengths) const {
        if (model_.head) {
            throw std::invalid_argument("a reranker has no embeddings: score pairs");
        }
        check(ids, lengths);
        py::array_t<float> embeddings({static_cast<py::ssize_t>(lengths.size()), py::ssize_t{model_.width}});
        run(ids.data(), lengths, nullptr, model_.width, embeddings.mutable_data());
        return embeddings;
    }

    py::array_t<float> embed_together(const Ids &ids, const std::vector<int> &lengths) const {
        if (model_.head) {
            throw std::invalid_argument("a reranker has no embeddings: score pairs");
        }
        check(ids, lengths);
        py::array_t<float> embeddings({static_cast<py::ssize_t>(lengths.size()), py::ssize_t{model_.width}});
        if (lengths.empty()) {
            return embeddings;
        }
        float *to = embeddings.mutable_data();
        const Rows rows = {ids.data(), lengths.data(), nullptr, static_cast<int>(lengths.size())};
        py::gil_scoped_release others_may_run;
        helper_.run([&](Gang &gang, int member) { kernel_->forward(model_, rows, to, gang, member); });
        return embeddings;
    }

    py::array_t<float> states(const Ids &ids, const std::vector<int> &lengths) const {
        check_splits();
        check(ids, lengths);
        py::array_t<float> states({ids.size(), py::ssize_t{model_.width}});
        run(ids.data(), lengths, nullptr, model_.width, states.mutable_data(), nullptr, false);
        return states;
    }

    py::array_t<float> embed_states(const Array &states, const std::vector<int> &lengths) const {
        check_splits();
        const py::ssize_t tokens = tokens_of(lengths);
        if (states.ndim() != 2 || states.shape(0) != tokens || states.shape(1) != model_.width) {
            std::string got;
            for (py::ssize_t axis = 0; axis < states.ndim(); ++axis) {
                got += (axis > 0 ? ", " : "") + std::to_string(states.shape(axis));
            }
            throw std::invalid_argument("states must be (" + std::to_string(tokens) + ", " +
                                        std::to_string(model_.width) + "), by the lengths and the width, got (" + got +
                                        ")");
        }
        py::array_t<float> embeddings({static_cast<py::ssize_t>(lengths.size()), py::ssize_t{model_.width}});
        run(nullptr, lengths, nullptr, model_.width, embeddings.mutable_data(), states.data());
        return embeddings;
    }

    py::array_t<float> score(const Ids &ids, const std::vector<int> &lengths, const std::vector<int> &firsts) const {
        if (!model_.head) {
            throw std::invalid_argument("an encoder has no logits: embed texts");
        }
        check(ids, lengths);
        if (firsts.size() != lengths.size()) {
            throw std::invalid_argument("every pair must say how many of its tokens are the query's, got " +
                                        std::to_string(firsts.size()) + " for " + std::to_string(lengths.size()));
        }
        py::array_t<float> logits(static_cast<py::ssize_t>(lengths.size()));
        run(ids.data(), lengths, firsts.data(), 1, logits.mutable_data());
        return logits;
    }

    int dimension() const { return model_.width; }
    int positions() const { return model_.positions; }
    int vocabulary() const { return model_.vocabulary; }
    std::string instructions() const { return kernel_->name; }

  protected:
    // Writes `width` numbers of each row, or of each token where rows are not pooled.
    void run(const std::int32_t *from, const std::vector<int> &lengths, const int *firsts, int width, float *to,
             const float *states = nullptr, bool pooled = true) const {
        py::gil_scoped_release others_may_run;
        Gang alone;
        for (std::size_t row = 0; row < lengths.size();) {
            std::size_t end = row;
            int tokens = 0;
            while (end < lengths.size() && (end == row || tokens + lengths[end] <= kernel_->run_tokens)) {
                tokens += lengths[end++];
            }
            const Rows rows = {from, lengths.data() + row, firsts == nullptr ? nullptr : firsts + row,
                               static_cast<int>(end - row), states, pooled};
            kernel_->forward(model_, rows, to, alone, 0);
            from = from == nullptr ? nullptr : from + tokens;
            states = states == nullptr ? nullptr : states + static_cast<std::size_t>(tokens) * model_.width;
            to += (pooled ? end - row : static_cast<std::size_t>(tokens)) * width;
            row = end;
        }
    }

    Array get(const std::string &name, int dimensions, py::ssize_t first = -1, py::ssize_t second = -1) {
        return get<float>(weights_, name, dimensions, first, second);
    }

    template <typename T>
    static py::array_t<T, py::array::c_style | py::array::forcecast>
    get(const py::dict &from, const std::string &name, int dimensions, py::ssize_t first, py::ssize_t second = -1) {
        if (!from.contains(name)) {
            throw std::invalid_argument("weights must have " + name);
        }
        auto found = from[name.c_str()].cast<py::array_t<T, py::array::c_style | py::array::forcecast>>();
        const bool fits = found.ndim() == dimensions && (first < 0 || found.shape(0) == first) &&
                          (second < 0 || found.shape(1) == second);
        if (!fits) {
            throw std::invalid_argument(name + " has a shape that does not fit the other weights");
        }
        return found;
    }

    Norm norm(const std::string &name) {
        const Array weight = get(name + ".weight", 1, model_.width), bias = get(name + ".bias", 1, model_.width);
        return {{weight.data(), weight.data() + model_.width}, {bias.data(), bias.data() + model_.width}};
    }

    // The weights of linear layers of as many outputs each, (outputs, inputs), side by side in panels.
    Product product(const std::vector<std::string> &names, int outputs, int inputs) {
        const int columns = kernel_->columns;
        Product packed;
        packed.inputs = inputs;
        packed.outputs = outputs * static_cast<int>(names.size());
        packed.padded_outputs = (packed.outputs + columns - 1) / columns * columns;
        packed.bias = aligned<float>(packed.padded_outputs);
        for (std::size_t part = 0; part < names.size(); ++part) {
            const Array bias = get(names[part] + ".bias", 1, outputs);
            std::copy(bias.data(), bias.data() + outputs, packed.bias.get() + part * outputs);
        }
        if (!codes_.empty()) {
            pack_codes(packed, names, outputs);
            return packed;
        }
        packed.panels = aligned<float>(static_cast<std::size_t>(packed.padded_outputs) * inputs);
        for (std::size_t part = 0; part < names.size(); ++part) {
            const Array weight = get(names[part] + ".weight", 2, outputs, inputs);
            for (int output = 0; output < outputs; ++output) {
                const int column = static_cast<int>(part) * outputs + output;
                float *to = packed.panels.get() + static_cast<std::size_t>(column / columns) * columns * inputs +
                            column % columns;
                for (int input = 0; input < inputs; ++input) {
                    to[static_cast<std::size_t>(input) * columns] =
                        weight.data()[static_cast<std::size_t>(output) * inputs + input];
                }
            }
        }
        if (kernel_->pack != nullptr) {
            kernel_->pack(packed);
        }
        return packed;
    }

    // The same in 8 bits; layers side by side have the same input, and so the same columns, step and zero.
    void pack_codes(Product &packed, const std::vector<std::string> &names, int outputs) {
        std::vector<std::int8_t> weights;
        std::vector<float> scales;
        const Array columns = get<float>(codes_, names[0] + ".columns", 1, packed.inputs);
        const Array step = get<float>(codes_, names[0] + ".step", 1, 1);
        const auto zero = get<std::int32_t>(codes_, names[0] + ".zero", 1, 1);
        for (const std::string &name : names) {
            const auto weight = get<std::int8_t>(codes_, name + ".weight", 2, outputs, packed.inputs);
            const Array scale = get<float>(codes_, name + ".scale", 1, outputs);
            const Array same = get<float>(codes_, name + ".columns", 1, packed.inputs);
            if (!std::equal(columns.data(), columns.data() + packed.inputs, same.data()) ||
                *get<float>(codes_, name + ".step", 1, 1).data() != *step.data() ||
                *get<std::int32_t>(codes_, name + ".zero", 1, 1).data() != *zero.data()) {
                throw std::invalid_argument(name + " must round its input as " + names[0] + " does");
            }
            weights.insert(weights.end(), weight.data(), weight.data() + weight.size());
            scales.insert(scales.end(), scale.data(), scale.data() + outputs);
        }
        eight_bits(*kernel_)(packed, weights.data(), scales.data(), columns.data(), *step.data(), *zero.data());
    }

    // Layers that normalise first read two things of each token, of which states are one.
    void check_splits() const {
        if (model_.norm_first || model_.head) {
            throw std::invalid_argument(std::string("states are those of a BERT encoder, got a ") +
                                        (model_.head ? "reranker" : "ModernBERT"));
        }
    }

    py::ssize_t tokens_of(const std::vector<int> &lengths) const {
        py::ssize_t tokens = 0;
        for (const int length : lengths) {
            if (length < 1 || length > model_.positions) {
                throw std::invalid_argument("every row must have 1 to " + std::to_string(model_.positions) +
                                            " tokens, got " + std::to_string(length));
            }
            tokens += length;
        }
        return tokens;
    }

    void check(const Ids &ids, const std::vector<int> &lengths) const {
        const py::ssize_t tokens = tokens_of(lengths);
        if (ids.ndim() != 1 || ids.size() != tokens) {
            throw std::invalid_argument("ids must be as many as the lengths say, " + std::to_string(tokens) + ", got " +
                                        std::to_string(ids.size()));
        }
        for (py::ssize_t at = 0; at < tokens; ++at) {
            if (ids.data()[at] < 0 || ids.data()[at] >= model_.vocabulary) {
                throw std::invalid_argument("token ids must be 0 to " + std::to_string(model_.vocabulary - 1) +
                                            ", got " + std::to_string(ids.data()[at]));
            }
        }
    }

    py::dict weights_;
    py::dict codes_;
    Array words_; // not packed: a lookup reads whole rows
    const Kernel *kernel_ = nullptr;
    Model model_;
    mutable Helper helper_;
};

class BertEncoder : public Encoder {
  public:
    BertEncoder(py::dict weights, int heads, float epsilon, bool mean, const std::string &instructions, py::dict codes,
                bool reranker, int padding)
        : Encoder(std::move(weights), "embeddings.word_embeddings.weight", heads, epsilon, mean, instructions,
                  std::move(codes)) {
        const Array places = get("embeddings.position_embeddings.weight", 2, -1, model_.width);
        const Array types = get("embeddings.token_type_embeddings.weight", 2, -1, model_.width);
        const int skipped = padding + 1; // places start behind that of the padding
        model_.positions = static_cast<int>(places.shape(0)) - skipped;
        if (padding < -1 || model_.positions < 1) {
            throw std::invalid_argument("there must be positions behind that of the padding, " +
                                        std::to_string(padding) + ", got " + std::to_string(places.shape(0)));
        }
        model_.places.assign(places.data() + static_cast<std::size_t>(skipped) * model_.width,
                             places.data() + places.size());
        for (std::size_t at = 0; at < model_.places.size(); ++at) {
            model_.places[at] += types.data()[at % model_.width];
        }
        model_.padding = padding;
        for (int at = 0; padding >= 0 && at < model_.width; ++at) {
            model_.at_padding.push_back(places.data()[static_cast<std::size_t>(padding) * model_.width + at] +
                                        types.data()[at]);
        }
        if (reranker && types.shape(0) > 1) {
            for (int at = 0; at < model_.width; ++at) {
                model_.second.push_back(types.data()[model_.width + at] - types.data()[at]);
            }
        }
        model_.norm = norm("embeddings.LayerNorm");
        while (weights_.contains(layer_name(model_.layers.size()) + "attention.self.query.weight")) {
            const std::string name = layer_name(model_.layers.size());
            const Array up = get(name + "intermediate.dense.weight", 2, -1, model_.width);
            model_.inner = static_cast<int>(up.shape(0));
            const std::string self = name + "attention.self.";
            Layer layer;
            layer.query_key_value = product({self + "query", self + "key", self + "value"}, model_.width, model_.width);
            layer.attended = product({name + "attention.output.dense"}, model_.width, model_.width);
            layer.attended_norm = norm(name + "attention.output.LayerNorm");
            layer.up = product({name + "intermediate.dense"}, model_.inner, model_.width);
            layer.down = product({name + "output.dense"}, model_.width, model_.inner);
            layer.down_norm = norm(name + "output.LayerNorm");
            model_.layers.push_back(std::move(layer));
        }
        if (model_.layers.empty()) {
            throw std::invalid_argument("weights must have a layer encoder.layer.0, got none");
        }
        if (reranker) {
            if (mean) {
                throw std::invalid_argument("a reranker is computed from the first token");
            }
            const Array weight = get("classifier.weight", 2, 1, model_.width), bias = get("classifier.bias", 1, 1);
            model_.head = std::make_unique<Head>();
            codes_ = py::dict(); // what is on top is small, and decides: it stays in float32
            model_.head->pooler = product({"pooler.dense"}, model_.width, model_.width);
            model_.head->weights.assign(weight.data(), weight.data() + model_.width);
            model_.head->bias = *bias.data();
        }
        weights_ = codes_ = py::dict(); // they are packed
    }

  private:
    static std::string layer_name(std::size_t number) { return "encoder.layer." + std::to_string(number) + "."; }
};

class ModernBertEncoder : public Encoder {
  public:
    // windows: of each layer, -1 where a token looks at all; frequencies: of each layer, (half a head's width).
    ModernBertEncoder(py::dict weights, int heads, float epsilon, bool mean, const std::string &instructions,
                      py::dict codes, int positions, const std::vector<int> &windows,
                      const std::vector<Array> &frequencies)
        : Encoder(std::move(weights), "embeddings.tok_embeddings.weight", heads, epsilon, mean, instructions,
                  std::move(codes)) {
        const int width = model_.width, half = width / heads / 2;
        if (width / heads % 2 != 0) {
            throw std::invalid_argument("a head must be of an even width, got " + std::to_string(width / heads));
        }
        if (windows.empty() || windows.size() != frequencies.size()) {
            throw std::invalid_argument("every layer must have a window and frequencies, got " +
                                        std::to_string(windows.size()) + " and " + std::to_string(frequencies.size()));
        }
        model_.norm_first = model_.gated = true;
        model_.positions = positions;
        model_.norm = norm("embeddings.norm");
        model_.inner = static_cast<int>(get("layers.0.mlp.Wo.weight", 2, width).shape(1));
        for (std::size_t number = 0; number < windows.size(); ++number) {
            const std::string name = "layers." + std::to_string(number) + ".", last = "final_norm";
            const bool more = number + 1 < windows.size();
            Layer layer;
            layer.query_key_value = product({name + "attn.Wqkv"}, 3 * width, width);
            layer.attended = product({name + "attn.Wo"}, width, width);
            layer.attended_norm = norm(name + "mlp_norm");
            layer.up = product({name + "mlp.Wi"}, 2 * model_.inner, width);
            layer.down = product({name + "mlp.Wo"}, width, model_.inner);
            layer.down_norm = norm(more ? "layers." + std::to_string(number + 1) + ".attn_norm" : last);
            layer.rotation = rotation(frequencies[number], half);
            layer.window = windows[number];
            model_.layers.push_back(std::move(layer));
        }
        weights_ = codes_ = py::dict(); // they are packed
    }

  private:
    // The cosines and sines of a layer; layers of equal frequencies share them.
    std::shared_ptr<const Rotation> rotation(const Array &frequencies, int half) {
        if (frequencies.ndim() != 1 || frequencies.size() != half) {
            throw std::invalid_argument("frequencies must be as many as half a head is wide, " + std::to_string(half) +
                                        ", got " + std::to_string(frequencies.size()));
        }
        const std::vector<float> wanted(frequencies.data(), frequencies.data() + half);
        for (const auto &[known, rotation] : rotations_) {
            if (known == wanted) {
                return rotation;
            }
        }
        auto made = std::make_shared<Rotation>();
        for (int position = 0; position < model_.positions; ++position) {
            for (const float frequency : wanted) {
                const double angle = static_cast<float>(position) * frequency; // rounded to float, as PyTorch's is
                made->cosines.push_back(static_cast<float>(std::cos(angle)));
                made->sines.push_back(static_cast<float>(std::sin(angle)));
            }
        }
        rotations_.emplace_back(wanted, made);
        return made;
    }

    std::vector<std::pair<std::vector<float>, std::shared_ptr<const Rotation>>> rotations_;
};

} // namespace
} // namespace trident

PYBIND11_MODULE(trident_kernels, module) {
    using trident::BertEncoder;
    using trident::Encoder;
    using trident::ModernBertEncoder;
    module.doc() = "BERT and ModernBERT in float32 and 8 bits without padding, as fast as a CPU's caches allow for "
                   "short texts.";
    module.def(
        "instructions",
        [] {
            std::vector<std::string> names;
            for (const trident::Kernel *kernel : trident::kernels()) {
                names.emplace_back(kernel->name);
            }
            return names;
        },
        "Return the instruction sets of this processor that there is a kernel for, the fastest first.");
    module.def(
        "instructions_8_bits",
        [] {
            std::vector<std::string> names;
            for (const trident::Kernel *kernel : trident::kernels()) {
                if (trident::eight_bits(*kernel) != nullptr) {
                    names.emplace_back(kernel->name);
                }
            }
            return names;
        },
        "Return those of instructions() whose kernel computes in 8 bits here, the fastest first.");
    py::class_<Encoder>(module, "Encoder", "What encoders have in common.")
        .def("embed", &Encoder::embed, py::arg("ids"), py::arg("lengths"),
             "Return the embeddings (N, D) float32, unit length, of N rows whose ids, int32, lie one after the "
             "other.\n\n"
             "Raises ValueError for an empty or too long row, or an id outside the vocabulary.")
        .def("embed_together", &Encoder::embed_together, py::arg("ids"), py::arg("lengths"),
             "Return what embed returns, to the last bit, on two cores that share the weights: for a lone text, or a few, "
             "whose rows cannot be dealt out.\n\n"
             "Another call that does so at the same time runs on one. Raises ValueError as embed does.")
        .def("states", &Encoder::states, py::arg("ids"), py::arg("lengths"),
             "Return what the last layer leaves of each token, (tokens, D) float32, of a BERT encoder; embed pools it.\n\n"
             "Raises ValueError as embed does.")
        .def("embed_states", &Encoder::embed_states, py::arg("states"), py::arg("lengths"),
             "Return the embeddings (N, D) of N rows from (tokens, D) float32 that the first layer reads in the place "
             "of the ids' embeddings, such as the states of an encoder of the layers below.\n\n"
             "Raises ValueError for an empty or too long row, or states of another shape.")
        .def("score", &Encoder::score, py::arg("ids"), py::arg("lengths"), py::arg("firsts"),
             "Return the logits (N,) float32 of N pairs; the first `firsts` tokens of each are of the first type.\n\n"
             "Raises ValueError as embed does.")
        .def_property_readonly("dimension", &Encoder::dimension)
        .def_property_readonly("positions", &Encoder::positions)
        .def_property_readonly("vocabulary", &Encoder::vocabulary)
        .def_property_readonly("instructions", &Encoder::instructions);
    py::class_<BertEncoder, Encoder>(module, "BertEncoder",
                                     "An encoder of transformers' BertModel. Safe from several threads.")
        .def(py::init<py::dict, int, float, bool, const std::string &, py::dict, bool, int>(), py::arg("weights"),
             py::kw_only(), py::arg("heads"), py::arg("epsilon"), py::arg("mean"), py::arg("instructions") = "",
             py::arg("codes") = py::dict(), py::arg("reranker") = false, py::arg("padding") = -1,
             "Pack weights: float32 arrays by the names of BertModel's state; mean pooling, or the first token's.\n\n"
             "codes, where there are any, take the place of each linear layer's weight: NAME.weight int8 (outputs, "
             "inputs),\n"
             "NAME.scale float32 (outputs), and how its input is rounded, NAME.columns float32 (inputs), NAME.step "
             "float32 (1)\n"
             "and NAME.zero int32 (1). A reranker has pooler.dense and classifier, of one row, beside BertModel's "
             "names; both are float32 always.\n\n"
             "padding: the id behind whose position those of texts begin, as in RoBERTa; -1: they begin at 0.\n\n"
             "Raises ValueError for weights that are missing or do not fit, or a processor without the instructions.");
    py::class_<ModernBertEncoder, Encoder>(
        module, "ModernBertEncoder", "An encoder of transformers' ModernBertModel. Safe from several threads.")
        .def(py::init<py::dict, int, float, bool, const std::string &, py::dict, int, const std::vector<int> &,
                      const std::vector<trident::Array> &>(),
             py::arg("weights"), py::kw_only(), py::arg("heads"), py::arg("epsilon"), py::arg("mean"),
             py::arg("instructions") = "", py::arg("codes") = py::dict(), py::arg("positions"), py::arg("windows"),
             py::arg("frequencies"),
             "Pack weights, as BertEncoder does, by the names of ModernBertModel's state; linear layers and norms have "
             "biases\n"
             "always, zeros where the model has none.\n\n"
             "positions: tokens of a text at most; windows, for each layer: tokens on each side that one looks at, -1 "
             "for all;\n"
             "frequencies, for each layer: float32 (half a head's width), by which places turn queries and keys.\n\n"
             "Raises ValueError as BertEncoder does.");
}
