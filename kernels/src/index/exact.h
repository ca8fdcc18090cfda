// The float32 vectors, which are read only to compare the last candidates in full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace trident_index {

// In memory, or in a file of rows out of which a row is read when it is needed: what is mapped counts as memory of the
// process, the system's cache of a file does not.
class Vectors {
  public:
    Vectors(const float *rows, std::size_t dimension) : rows_(rows), dimension_(dimension) {}
    Vectors(const std::string &path, std::size_t offset, std::size_t count, std::size_t dimension);
    Vectors(const Vectors &) = delete;
    Vectors &operator=(const Vectors &) = delete;
    ~Vectors();

    std::size_t dimension() const { return dimension_; }
    // A row, in memory or in the buffer (dimension).
    const float *row(std::uint32_t label, float *buffer) const;

  private:
    const float *rows_ = nullptr;
    std::size_t dimension_ = 0;
    int file_ = -1;
    std::size_t offset_ = 0;
    void *mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
};

// The cosine, as trident.index.exact_search.cosines_of_pairs has it, to the last bit: products in float64 are added in
// the order in which NumPy adds them, then rounded to float32.
float cosine(const float *vector, const double *query, std::size_t dimension);

// The query (dimension) in float64, which cosine wants.
std::vector<double> in_double(const float *query, std::size_t dimension);

} // namespace trident_index
