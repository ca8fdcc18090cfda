// The products of codes.h in plain C++, for any processor; and which of them this one has.
#include "codes.h"

#include <algorithm>
#include <cmath>

#define INSTRUCTIONS plain
namespace trident_index {
namespace plain {
constexpr std::size_t kStep = 16;
struct Sums {
    std::int32_t sum = 0;
};
inline void add(Sums &sums, const std::int16_t *query, const std::int8_t *row) {
    for (std::size_t at = 0; at < kStep; ++at) {
        sums.sum += static_cast<std::int32_t>(query[at]) * row[at];
    }
}
inline std::int32_t total(const Sums &sums) { return sums.sum; }
} // namespace plain
} // namespace trident_index
#include "dots.h"

namespace trident_index {

const Dots kPlain = {"plain", plain::one, plain::of_labels, plain::of_range};

std::vector<const Dots *> all_dots() {
    std::vector<const Dots *> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) {
        found.push_back(&kAvx512);
    }
    if (__builtin_cpu_supports("avx2")) {
        found.push_back(&kAvx2);
    }
#elif defined(__aarch64__)
    found.push_back(&kNeon);
#endif
    found.push_back(&kPlain);
    return found;
}

Query::Query(const float *values, std::size_t dimension, std::size_t stride) : codes(aligned<std::int16_t>(stride)) {
    const double levels = std::min(32767.0, std::floor(2147483647.0 / (127.0 * static_cast<double>(dimension))));
    float largest = 0;
    for (std::size_t at = 0; at < dimension; ++at) {
        largest = std::max(largest, std::fabs(values[at]));
    }
    const double step = largest > 0 ? largest / levels : 1.0;
    double lost_squares = 0, squares = 0;
    for (std::size_t at = 0; at < dimension; ++at) {
        const double rounded = std::nearbyint(values[at] / step);
        codes[at] = static_cast<std::int16_t>(rounded);
        const double off = values[at] - rounded * step;
        lost_squares += off * off;
        squares += static_cast<double>(values[at]) * values[at];
    }
    scale = static_cast<float>(step);
    lost = static_cast<float>(std::sqrt(lost_squares));
    norm = static_cast<float>(std::sqrt(squares));
}

} // namespace trident_index
