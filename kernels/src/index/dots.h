// The products of codes.h over one instruction set; included once by each, which defines INSTRUCTIONS and
//   Sums                          running sums of products
//   void add(Sums &, const std::int16_t *query, const std::int8_t *row)   of kStep numbers
//   std::int32_t total(Sums)
//   constexpr std::size_t kStep   a divisor of 64

namespace trident_index {
namespace INSTRUCTIONS {

constexpr std::size_t kAhead = 4; // rows that are on their way into the cache

inline std::int32_t dot(const std::int16_t *query, const std::int8_t *row, std::size_t stride) {
    Sums even{}, odd{};
    for (std::size_t at = 0; at < stride; at += 2 * kStep) {
        add(even, query + at, row + at);
        add(odd, query + at + kStep, row + at + kStep);
    }
    return total(even) + total(odd);
}

std::int32_t one(const std::int16_t *query, const std::int8_t *row, std::size_t stride) {
    return dot(query, row, stride);
}

void of_labels(const std::int16_t *query, const Codes &codes, const std::uint32_t *labels, std::size_t count,
               std::int32_t *products) {
    for (std::size_t at = 0; at < count && at < kAhead; ++at) {
        codes.fetch(labels[at]);
    }
    for (std::size_t at = 0; at < count; ++at) {
        if (at + kAhead < count) {
            codes.fetch(labels[at + kAhead]);
        }
        products[at] = dot(query, codes.row(labels[at]), codes.stride);
    }
}

// Each row is read once for four queries.
void of_range(const std::int16_t *const *queries, std::size_t query_count, const Codes &codes, std::size_t first,
              std::size_t rows, std::int32_t *products) {
    std::size_t number = 0;
    for (; number + 4 <= query_count; number += 4) {
        const std::int16_t *q0 = queries[number], *q1 = queries[number + 1], *q2 = queries[number + 2],
                           *q3 = queries[number + 3];
        std::int32_t *to = products + number * rows;
        for (std::size_t at = 0; at < rows; ++at) {
            const std::int8_t *row = codes.rows + (first + at) * codes.stride;
            Sums s0{}, s1{}, s2{}, s3{};
            for (std::size_t column = 0; column < codes.stride; column += kStep) {
                add(s0, q0 + column, row + column);
                add(s1, q1 + column, row + column);
                add(s2, q2 + column, row + column);
                add(s3, q3 + column, row + column);
            }
            to[at] = total(s0);
            to[rows + at] = total(s1);
            to[2 * rows + at] = total(s2);
            to[3 * rows + at] = total(s3);
        }
    }
    for (; number < query_count; ++number) {
        for (std::size_t at = 0; at < rows; ++at) {
            products[number * rows + at] =
                dot(queries[number], codes.rows + (first + at) * codes.stride, codes.stride);
        }
    }
}

} // namespace INSTRUCTIONS
} // namespace trident_index
