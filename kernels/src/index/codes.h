// Vectors in 8 bits, each with a scale of its own, and products of them with a query in 16 bits.
//
// A vector is scale * codes, the largest of whose integers is 127; so only what rounding took from the vector is lost,
// hardly anything of the query. Products are summed in 32 bits, exactly: they are the same in every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace trident_index {

constexpr std::uint32_t kNone = 0xFFFFFFFFu; // no label: the rest of a row of links
constexpr std::size_t kLine = 64;            // bytes of a cache line

struct Free {
    void operator()(void *memory) const { std::free(memory); }
};
template <typename T> using Aligned = std::unique_ptr<T[], Free>;

template <typename T> Aligned<T> aligned(std::size_t count) {
    const std::size_t bytes = (count * sizeof(T) + kLine - 1) / kLine * kLine;
    void *memory = std::aligned_alloc(kLine, bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    std::memset(memory, 0, bytes);
    return Aligned<T>(static_cast<T *>(memory));
}

struct Codes {
    const std::int8_t *rows = nullptr; // (count, stride), filled up with zeros
    const float *scales = nullptr;     // (count)
    std::size_t count = 0;
    std::size_t stride = 0; // bytes of a row, a multiple of 64

    const std::int8_t *row(std::uint32_t label) const { return rows + label * stride; }
    void fetch(std::uint32_t label) const {
        const std::int8_t *from = row(label);
        for (std::size_t at = 0; at < stride; at += kLine) {
            __builtin_prefetch(from + at);
        }
        __builtin_prefetch(scales + label);
    }
};

// The products of a query with rows of codes. See dots.h.
struct Dots {
    const char *name;
    std::int32_t (*one)(const std::int16_t *query, const std::int8_t *row, std::size_t stride);
    // With the rows of labels, which lie anywhere: rows ahead are fetched into the cache.
    void (*of_labels)(const std::int16_t *query, const Codes &codes, const std::uint32_t *labels, std::size_t count,
                      std::int32_t *products);
    // Of some queries with rows from first on, one after the other: products (queries, rows).
    void (*of_range)(const std::int16_t *const *queries, std::size_t query_count, const Codes &codes, std::size_t first,
                     std::size_t rows, std::int32_t *products);
};

extern const Dots kPlain;
#if defined(__x86_64__)
extern const Dots kAvx2;
extern const Dots kAvx512;
#elif defined(__aarch64__)
extern const Dots kNeon;
#endif

// The fastest of this processor, and all of them.
std::vector<const Dots *> all_dots();

// A query (dimension) in 16 bits, of so many levels that no sum of products leaves 32.
struct Query {
    Query(const float *values, std::size_t dimension, std::size_t stride);

    Aligned<std::int16_t> codes; // (stride)
    float scale = 0;             // a product of codes times it, times the vector's scale, is the cosine
    float lost = 0;              // norm of what rounding took away
    float norm = 0;
};

// Writes codes as 16-bit integers, so that a row of codes is the query.
inline void widen(const std::int8_t *row, std::size_t stride, std::int16_t *query) {
    for (std::size_t at = 0; at < stride; ++at) {
        query[at] = row[at];
    }
}

// A score and its label as one number that is ordered by score, and at equal scores by label, the lowest highest.
inline std::uint64_t key(float score, std::uint32_t label) {
    std::uint32_t bits;
    score += 0.0f; // -0 becomes 0
    std::memcpy(&bits, &score, sizeof bits);
    bits = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return static_cast<std::uint64_t>(bits) << 32 | (0xFFFFFFFFu - label);
}
inline std::uint32_t label_of(std::uint64_t key) { return 0xFFFFFFFFu - static_cast<std::uint32_t>(key); }
inline float score_of(std::uint64_t key) {
    auto bits = static_cast<std::uint32_t>(key >> 32);
    bits = (bits >> 31) != 0 ? bits & 0x7FFFFFFFu : ~bits;
    float score;
    std::memcpy(&score, &bits, sizeof score);
    return score;
}

} // namespace trident_index
