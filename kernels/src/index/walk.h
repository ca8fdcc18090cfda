// The walk through a graph of near vectors (HNSW), by codes; and the full comparison of the last candidates.
#pragma once

#include "codes.h"
#include "exact.h"
#include "scan.h"

namespace trident_index {

// Rows of links (count, width), filled up with kNone.
struct Links {
    const std::uint32_t *rows = nullptr;
    std::size_t width = 0;

    const std::uint32_t *row(std::size_t number) const { return rows + number * width; }
};

// The layers above the lowest, which hold few of the vectors: rows (label, row of the same label a layer below or
// kNone, links to rows of the same layer).
struct Upper {
    const std::uint32_t *rows = nullptr;
    std::size_t width = 0; // 2 + links
    std::uint32_t entry = kNone;

    const std::uint32_t *row(std::uint32_t number) const { return rows + number * width; }
};

// What a thread needs while it walks, kept from walk to walk.
struct Walk {
    std::vector<std::uint64_t> seen; // a bit for each label: it stays in the cache, as a number for each would not
    std::vector<std::uint64_t> candidates;
    std::vector<std::uint64_t> found; // the best keys, after a walk the worst first
    std::vector<std::uint32_t> labels;
    std::vector<std::int32_t> products;
    std::size_t compared = 0;
};

// Leaves in walk.found the ef best permitted that a walk from the given labels reaches, as a heap with the worst in
// front. It returns false where more than most vectors would be compared, or where, kTrial compared, less than the least
// share of those near the query are permitted.
template <typename LinksOf>
bool walk_layer(Walk &walk, const Codes &codes, const Dots &dots, const std::int16_t *query, LinksOf links_of,
                std::size_t width, const std::uint32_t *starts, std::size_t start_count, std::size_t ef,
                const Permitted &permitted, std::size_t most, float least_share = 0);

struct Searched {
    Scanned scanned;
    Links links;
    Upper upper;
    std::uint32_t entry = 0; // where there is no upper layer
};

struct Way {
    std::size_t ef = 0;    // >= depth
    std::size_t depth = 0; // that are answered
    std::size_t most = 0;  // vectors compared by codes
    float least_share = 0; // of the vectors near a query that are permitted
    // How far a cosine is taken to be off what codes say, times what rounding took from the vector: of the ef best,
    // those that may be among the depth best are compared in full.
    float doubt = 0;
};

// As scan; found (queries) counts what was found, and is -1 for a walk that was given up.
void search(const Searched &searched, const Permitted &permitted, const float *queries, std::size_t query_count,
            const Way &way, int threads, std::int64_t *labels, float *cosines, std::int64_t *found);

} // namespace trident_index

#include "walk_layer.h"
