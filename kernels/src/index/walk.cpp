#include "walk.h"

#include "threads.h"

#include <limits>

namespace trident_index {

namespace {

// Goes down the upper layers from vector to nearer vector, and returns a label of the lowest one.
std::uint32_t descend(const Searched &searched, const std::int16_t *query, Walk &walk) {
    const Upper &upper = searched.upper;
    const Codes &codes = *searched.scanned.codes;
    if (upper.entry == kNone) {
        return searched.entry;
    }
    walk.labels.resize(upper.width);
    walk.products.resize(upper.width);
    std::uint32_t at = upper.entry;
    std::uint32_t label = upper.row(at)[0];
    std::uint64_t best =
        key(static_cast<float>(searched.scanned.dots->one(query, codes.row(label), codes.stride)) * codes.scales[label],
            label);
    for (;;) {
        const std::uint32_t *row = upper.row(at);
        std::size_t count = 0;
        while (count + 2 < upper.width && row[2 + count] != kNone) {
            walk.labels[count] = upper.row(row[2 + count])[0];
            ++count;
        }
        searched.scanned.dots->of_labels(query, codes, walk.labels.data(), count, walk.products.data());
        std::uint32_t nearer = kNone;
        for (std::size_t link = 0; link < count; ++link) {
            const float score = static_cast<float>(walk.products[link]) * codes.scales[walk.labels[link]];
            if (key(score, walk.labels[link]) > best) {
                best = key(score, walk.labels[link]);
                nearer = row[2 + link];
            }
        }
        if (nearer != kNone) {
            at = nearer;
        } else if (row[1] != kNone) {
            at = row[1];
        } else {
            return row[0];
        }
    }
}

// Puts the depth best of what a walk found in order, by their cosines.
void compare_in_full(const Scanned &scanned, const float *values, const Query &query, const Way &way,
                     std::vector<std::uint64_t> &found) {
    const std::size_t dimension = scanned.vectors->dimension();
    const std::vector<double> wide = in_double(values, dimension);
    std::vector<float> buffer(dimension);
    std::sort(found.begin(), found.end(), std::greater<>());
    std::vector<std::uint64_t> best; // the depth best keys, the worst in front
    for (const std::uint64_t place : found) {
        const std::uint32_t label = label_of(place);
        const float off = way.doubt * scanned.lost[label] * query.norm;
        if (best.size() == way.depth && score_of(place) * query.scale + off < score_of(best.front())) {
            continue;
        }
        best.push_back(key(cosine(scanned.vectors->row(label, buffer.data()), wide.data(), dimension), label));
        std::push_heap(best.begin(), best.end(), std::greater<>());
        if (best.size() > way.depth) {
            std::pop_heap(best.begin(), best.end(), std::greater<>());
            best.pop_back();
        }
    }
    std::sort(best.begin(), best.end(), std::greater<>());
    found = best;
}

} // namespace

void search(const Searched &searched, const Permitted &permitted, const float *queries, std::size_t query_count,
            const Way &way, int threads, std::int64_t *labels, float *cosines, std::int64_t *found) {
    const Codes &codes = *searched.scanned.codes;
    const std::size_t dimension = searched.scanned.vectors->dimension();
    const Links links = searched.links;
    deal_out(query_count, threads, [&](std::size_t number) {
        static thread_local Walk walk;
        const float *values = queries + number * dimension;
        const Query query(values, dimension, codes.stride);
        const std::uint32_t start = descend(searched, query.codes.get(), walk);
        const auto links_of = [&links](std::uint32_t label) { return links.row(label); };
        const bool ended = walk_layer(walk, codes, *searched.scanned.dots, query.codes.get(), links_of, links.width,
                                      &start, 1, way.ef, permitted, way.most, way.least_share);
        if (ended) {
            compare_in_full(searched.scanned, values, query, way, walk.found);
        }
        const std::size_t count = ended ? walk.found.size() : 0;
        found[number] = ended ? static_cast<std::int64_t>(count) : -1;
        for (std::size_t rank = 0; rank < way.depth; ++rank) {
            labels[number * way.depth + rank] = rank < count ? static_cast<std::int64_t>(label_of(walk.found[rank])) : -1;
            cosines[number * way.depth + rank] =
                rank < count ? score_of(walk.found[rank]) : std::numeric_limits<float>::quiet_NaN();
        }
    });
}

} // namespace trident_index
