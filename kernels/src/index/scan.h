// The nearest vectors by comparing all of them, or all that are permitted: certain by construction.
#pragma once

#include "codes.h"
#include "exact.h"

namespace trident_index {

struct Scanned {
    const Codes *codes = nullptr;
    const float *lost = nullptr; // (count) norm of what rounding took from each vector
    const Vectors *vectors = nullptr;
    const Dots *dots = nullptr;
};

// Which vectors are compared: all, those of a bitmap, or those of a list.
struct Permitted {
    const std::uint64_t *bitmap = nullptr; // (count / 64, rounded up)
    const std::uint32_t *labels = nullptr; // ascending
    std::size_t label_count = 0;

    bool has(std::uint32_t label) const { return bitmap == nullptr || (bitmap[label >> 6] >> (label & 63) & 1) != 0; }
};

// Writes the depth nearest labels (queries, depth) and their cosines, best first, equal ones by label; where there are
// fewer, the rest is -1 and NaN.
void scan(const Scanned &scanned, const Permitted &permitted, const float *queries, std::size_t query_count,
          std::size_t depth, int threads, std::int64_t *labels, float *cosines);

} // namespace trident_index
