// The Python module: checks what it is given, keeps it alive, and lets other threads run meanwhile.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "build.h"
#include "codes.h"
#include "exact.h"
#include "scan.h"
#include "walk.h"

namespace py = pybind11;

namespace trident_index {
namespace {

template <typename T> using Array = py::array_t<T, py::array::c_style>;
template <typename T> using Given = py::array_t<T, py::array::c_style | py::array::forcecast>;

void require(bool fulfilled, const char *rule) {
    if (!fulfilled) {
        throw std::invalid_argument(rule);
    }
}

const Dots *dots_named(const std::string &name) {
    for (const Dots *dots : all_dots()) {
        if (name.empty() || name == dots->name) {
            return dots;
        }
    }
    throw std::invalid_argument("this processor must have " + name);
}

Codes codes_of(const Array<std::int8_t> &rows, const Array<float> &scales) {
    require(rows.ndim() == 2 && rows.shape(1) > 0 && rows.shape(1) % 64 == 0, "codes must have rows of 64 n bytes");
    require(scales.ndim() == 1 && scales.shape(0) == rows.shape(0), "each row of codes needs its scale");
    return {rows.data(), scales.data(), static_cast<std::size_t>(rows.shape(0)),
            static_cast<std::size_t>(rows.shape(1))};
}

class PyIndex {
  public:
    PyIndex(Array<std::int8_t> codes, Array<float> scales, Array<float> lost, py::object vectors, std::size_t offset,
            std::size_t dimension, const std::string &instructions)
        : codes_array_(std::move(codes)), scales_(std::move(scales)), lost_(std::move(lost)),
          codes_(codes_of(codes_array_, scales_)) {
        require(lost_.ndim() == 1 && lost_.shape(0) == codes_array_.shape(0), "each row of codes needs what it lost");
        require(dimension > 0 && dimension <= codes_.stride, "a row of codes must be as long as a vector");
        if (py::isinstance<py::str>(vectors)) {
            vectors_.emplace(vectors.cast<std::string>(), offset, codes_.count, dimension);
        } else {
            in_memory_ = vectors.cast<Array<float>>();
            require(in_memory_.ndim() == 2 && in_memory_.shape(0) == codes_array_.shape(0) &&
                        in_memory_.shape(1) == static_cast<py::ssize_t>(dimension),
                    "each row of codes needs its vector");
            vectors_.emplace(in_memory_.data(), dimension);
        }
        searched_.scanned = {&codes_, lost_.data(), &*vectors_, dots_named(instructions)};
    }

    void set_graph(Array<std::uint32_t> lowest, Array<std::uint32_t> upper, std::uint32_t entry,
                   std::uint32_t upper_entry) {
        require(lowest.ndim() == 2 && lowest.shape(0) == codes_array_.shape(0), "each row of codes needs its links");
        require(upper.ndim() == 2 && upper.shape(1) >= 2, "upper rows must have a label, a row below and links");
        require(entry < codes_.count, "the entry must be a label");
        require(upper_entry == kNone || upper_entry < static_cast<std::uint32_t>(upper.shape(0)),
                "the upper entry must be a row");
        lowest_ = std::move(lowest);
        upper_ = std::move(upper);
        searched_.links = {lowest_.data(), static_cast<std::size_t>(lowest_.shape(1))};
        searched_.upper = {upper_.data(), static_cast<std::size_t>(upper_.shape(1)), upper_entry};
        searched_.entry = entry;
    }

    py::tuple search(const Given<float> &queries, std::size_t depth, std::size_t ef, std::size_t most,
                     float least_share, float doubt, const std::optional<Array<std::uint64_t>> &bitmap, int threads) const {
        require(searched_.links.rows != nullptr, "there is no graph");
        require(depth >= 1 && ef >= depth, "1 <= depth <= ef must hold");
        const Permitted permitted = permitted_of(bitmap, std::nullopt);
        const py::ssize_t count = check(queries);
        py::array_t<std::int64_t> labels({count, static_cast<py::ssize_t>(depth)}), found(count);
        py::array_t<float> cosines({count, static_cast<py::ssize_t>(depth)});
        std::int64_t *to_labels = labels.mutable_data(), *to_found = found.mutable_data();
        float *to_cosines = cosines.mutable_data();
        {
            py::gil_scoped_release others_may_run;
            trident_index::search(searched_, permitted, queries.data(), static_cast<std::size_t>(count),
                                  {ef, depth, most, least_share, doubt}, threads, to_labels, to_cosines, to_found);
        }
        return py::make_tuple(labels, cosines, found);
    }

    py::tuple scan(const Given<float> &queries, std::size_t depth, const std::optional<Array<std::uint64_t>> &bitmap,
                   const std::optional<Array<std::uint32_t>> &rows, int threads) const {
        require(depth >= 1, "depth must be >= 1");
        const Permitted permitted = permitted_of(bitmap, rows);
        const py::ssize_t count = check(queries);
        py::array_t<std::int64_t> labels({count, static_cast<py::ssize_t>(depth)});
        py::array_t<float> cosines({count, static_cast<py::ssize_t>(depth)});
        std::int64_t *to_labels = labels.mutable_data();
        float *to_cosines = cosines.mutable_data();
        {
            py::gil_scoped_release others_may_run;
            trident_index::scan(searched_.scanned, permitted, queries.data(), static_cast<std::size_t>(count), depth,
                                threads, to_labels, to_cosines);
        }
        return py::make_tuple(labels, cosines);
    }

    py::array_t<float> vectors(const Array<std::uint32_t> &labels) const {
        require(labels.ndim() == 1, "labels must be a row");
        const py::ssize_t count = labels.shape(0);
        const std::uint32_t *wanted = labels.data();
        for (py::ssize_t at = 0; at < count; ++at) {
            require(wanted[at] < codes_.count, "labels must be below the number of vectors");
        }
        const std::size_t dimension = vectors_->dimension();
        py::array_t<float> rows({count, static_cast<py::ssize_t>(dimension)});
        float *to = rows.mutable_data();
        {
            py::gil_scoped_release others_may_run;
            for (py::ssize_t at = 0; at < count; ++at, to += dimension) {
                const float *row = vectors_->row(wanted[at], to);
                if (row != to) {
                    std::memcpy(to, row, dimension * sizeof(float));
                }
            }
        }
        return rows;
    }

    std::string instructions() const { return searched_.scanned.dots->name; }

  private:
    py::ssize_t check(const Given<float> &queries) const {
        require(queries.ndim() == 2 && queries.shape(1) == static_cast<py::ssize_t>(vectors_->dimension()),
                "queries must have the dimension of the vectors");
        return queries.shape(0);
    }

    Permitted permitted_of(const std::optional<Array<std::uint64_t>> &bitmap,
                           const std::optional<Array<std::uint32_t>> &labels) const {
        Permitted permitted;
        if (bitmap) {
            require(bitmap->ndim() == 1 && static_cast<std::size_t>(bitmap->shape(0)) == (codes_.count + 63) / 64,
                    "a bitmap must have a bit for each vector");
            permitted.bitmap = bitmap->data();
        }
        if (labels) {
            require(labels->ndim() == 1, "labels must be a row");
            permitted.label_count = static_cast<std::size_t>(labels->shape(0));
            for (std::size_t at = 0; at < permitted.label_count; ++at) {
                require(labels->data()[at] < codes_.count, "labels must be below the number of vectors");
            }
            static const std::uint32_t nothing = 0;
            permitted.labels = permitted.label_count == 0 ? &nothing : labels->data();
        }
        return permitted;
    }

    Array<std::int8_t> codes_array_;
    Array<float> scales_, lost_, in_memory_;
    Array<std::uint32_t> lowest_, upper_;
    Codes codes_;
    std::optional<Vectors> vectors_;
    Searched searched_;
};

class PyBuilder {
  public:
    PyBuilder(Array<std::int8_t> codes, Array<float> scales, const Given<std::uint32_t> &order,
              const Given<std::uint8_t> &levels, std::size_t links, std::size_t ef, std::size_t largest_round,
              int threads, const std::string &instructions)
        : codes_array_(std::move(codes)), scales_(std::move(scales)), codes_(codes_of(codes_array_, scales_)) {
        require(order.size() == codes_array_.shape(0) && levels.size() == codes_array_.shape(0),
                "each vector needs its place in the order and its level");
        require(links >= 2 && ef >= 1 && largest_round >= 1, "links >= 2, ef >= 1 and largest_round >= 1 must hold");
        std::vector<bool> seen(codes_.count);
        for (py::ssize_t at = 0; at < order.size(); ++at) {
            require(order.data()[at] < codes_.count && !seen[order.data()[at]], "order must name each vector once");
            seen[order.data()[at]] = true;
        }
        builder_.emplace(codes_, *dots_named(instructions),
                         std::vector<std::uint32_t>(order.data(), order.data() + order.size()),
                         std::vector<std::uint8_t>(levels.data(), levels.data() + levels.size()),
                         Builder::Settings{links, ef, largest_round, threads});
    }

    std::size_t add_round() {
        py::gil_scoped_release others_may_run;
        return builder_->add_round();
    }

    py::tuple graph() const {
        py::array_t<std::uint32_t> lowest(
            {static_cast<py::ssize_t>(builder_->count()), static_cast<py::ssize_t>(builder_->lowest_width())});
        py::array_t<std::uint32_t> upper(
            {static_cast<py::ssize_t>(builder_->upper_count()), static_cast<py::ssize_t>(builder_->upper_width())});
        builder_->write_lowest(lowest.mutable_data());
        builder_->write_upper(upper.mutable_data());
        return py::make_tuple(lowest, upper, builder_->entry(), builder_->upper_entry());
    }

  private:
    Array<std::int8_t> codes_array_;
    Array<float> scales_;
    Codes codes_;
    std::optional<Builder> builder_;
};

} // namespace
} // namespace trident_index

PYBIND11_MODULE(trident_index_kernels, module) {
    using trident_index::PyBuilder;
    using trident_index::PyIndex;
    module.doc() = "Nearest vectors on CPUs: a graph and exact search over 8-bit codes, compared again in float32.";
    module.attr("NONE") = trident_index::kNone;
    module.def(
        "instructions",
        [] {
            std::vector<std::string> names;
            for (const trident_index::Dots *dots : trident_index::all_dots()) {
                names.emplace_back(dots->name);
            }
            return names;
        },
        "Return the instruction sets that run here, the fastest first.");
    py::class_<PyIndex>(module, "Index",
                        "Vectors (U, D) as codes (U, 64 n) int8 with scales and what was lost, (U,) float32 each; "
                        "vectors is an array, or the path of a file that has them from offset on. Safe from several "
                        "threads.")
        .def(py::init<py::array_t<std::int8_t, py::array::c_style>, py::array_t<float, py::array::c_style>,
                      py::array_t<float, py::array::c_style>, py::object, std::size_t, std::size_t,
                      const std::string &>(),
             py::arg("codes").noconvert(), py::arg("scales").noconvert(), py::arg("lost").noconvert(),
             py::arg("vectors"), py::kw_only(), py::arg("offset") = 0, py::arg("dimension"),
             py::arg("instructions") = "")
        .def("set_graph", &PyIndex::set_graph, py::arg("lowest").noconvert(), py::arg("upper").noconvert(),
             py::kw_only(), py::arg("entry"), py::arg("upper_entry"), "Take a graph as Builder.graph gives it.")
        .def("search", &PyIndex::search, py::arg("queries"), py::kw_only(), py::arg("depth"), py::arg("ef"),
             py::arg("most"), py::arg("least_share") = 0.0f, py::arg("doubt"),
             py::arg("bitmap").noconvert() = py::none(), py::arg("threads") = 1,
             "Return the depth nearest labels (B, depth) that a walk of ef permitted candidates finds, their cosines, "
             "best first,\nand how many there are (B,): -1 for a walk that compared more than most vectors, or that "
             "finds less than least_share\nof what is near a query permitted. Candidates are compared in full that may be "
             "among the nearest\nif a cosine is off by doubt times what a vector lost.")
        .def("vectors", &PyIndex::vectors, py::arg("labels").noconvert(),
             "Return the vectors (R, D) of labels (R,) uint32; of a large file each is read, and nothing is mapped.")
        .def("scan", &PyIndex::scan, py::arg("queries"), py::kw_only(), py::arg("depth"),
             py::arg("bitmap").noconvert() = py::none(), py::arg("labels").noconvert() = py::none(),
             py::arg("threads") = 1,
             "Return the depth nearest labels (B, depth) of all, or of those permitted, and their cosines, best first, "
             "padded\nwith -1 and NaN: nothing is missed.")
        .def_property_readonly("instructions", &PyIndex::instructions);
    py::class_<PyBuilder>(module, "Builder", "Builds a graph, the same bytes on any number of threads.")
        .def(py::init<py::array_t<std::int8_t, py::array::c_style>, py::array_t<float, py::array::c_style>,
                      const trident_index::Given<std::uint32_t> &, const trident_index::Given<std::uint8_t> &,
                      std::size_t, std::size_t, std::size_t, int, const std::string &>(),
             py::arg("codes").noconvert(), py::arg("scales").noconvert(), py::arg("order"), py::arg("levels"),
             py::kw_only(), py::arg("links"), py::arg("ef"), py::arg("largest_round"), py::arg("threads") = 1,
             py::arg("instructions") = "")
        .def("add_round", &PyBuilder::add_round, "Add the next vectors, and return how many are in.")
        .def("graph", &PyBuilder::graph, "Return lowest (U, 2 links), upper rows, entry and upper entry.");
}
