// walk_layer of walk.h. Source: Malkov and Yashunin 2016, algorithm 2.
#pragma once

#include <algorithm>
#include <functional>

namespace trident_index {

constexpr std::size_t kTrial = 1024; // vectors compared, after which a walk knows whether what it seeks lies here

template <typename LinksOf>
bool walk_layer(Walk &walk, const Codes &codes, const Dots &dots, const std::int16_t *query, LinksOf links_of,
                std::size_t width, const std::uint32_t *starts, std::size_t start_count, std::size_t ef,
                const Permitted &permitted, std::size_t most, float least_share) {
    std::size_t near = 0, permitted_near = 0; // that were candidates
    bool is_tried = permitted.bitmap == nullptr;
    walk.seen.assign((codes.count + 63) / 64, 0);
    walk.candidates.clear();
    walk.found.clear();
    walk.labels.resize(std::max(width, start_count));
    walk.products.resize(walk.labels.size());
    walk.compared = 0;
    const auto meet = [&](std::uint32_t label) {
        std::uint64_t &bits = walk.seen[label >> 6];
        const std::uint64_t bit = std::uint64_t{1} << (label & 63);
        const bool is_new = (bits & bit) == 0;
        bits |= bit;
        return is_new;
    };
    const auto compare = [&](std::size_t count) {
        walk.compared += count;
        dots.of_labels(query, codes, walk.labels.data(), count, walk.products.data());
        for (std::size_t at = 0; at < count; ++at) {
            const std::uint32_t label = walk.labels[at];
            const float score = static_cast<float>(walk.products[at]) * codes.scales[label];
            const std::uint64_t place = key(score, label);
            if (walk.found.size() >= ef && place < walk.found.front()) {
                continue;
            }
            walk.candidates.push_back(place);
            std::push_heap(walk.candidates.begin(), walk.candidates.end());
            ++near;
            if (permitted.has(label)) {
                ++permitted_near;
                walk.found.push_back(place);
                std::push_heap(walk.found.begin(), walk.found.end(), std::greater<>());
                if (walk.found.size() > ef) {
                    std::pop_heap(walk.found.begin(), walk.found.end(), std::greater<>());
                    walk.found.pop_back();
                }
            }
        }
    };
    std::size_t count = 0;
    for (std::size_t at = 0; at < start_count; ++at) {
        if (meet(starts[at])) {
            walk.labels[count++] = starts[at];
        }
    }
    compare(count);
    while (!walk.candidates.empty()) {
        const std::uint64_t best = walk.candidates.front();
        if (walk.found.size() >= ef && best < walk.found.front()) {
            break;
        }
        std::pop_heap(walk.candidates.begin(), walk.candidates.end());
        walk.candidates.pop_back();
        const std::uint32_t *links = links_of(label_of(best));
        count = 0;
        for (std::size_t at = 0; at < width && links[at] != kNone; ++at) {
            if (meet(links[at])) {
                walk.labels[count++] = links[at];
            }
        }
        if (walk.compared + count > most) {
            return false;
        }
        compare(count);
        if (!is_tried && walk.compared >= kTrial) {
            is_tried = true;
            if (static_cast<float>(permitted_near) < least_share * static_cast<float>(near)) {
                return false; // what is permitted lies elsewhere
            }
        }
        if (!walk.candidates.empty()) {
            const std::uint32_t *next = links_of(label_of(walk.candidates.front()));
            for (std::size_t at = 0; at < width; at += kLine / sizeof(std::uint32_t)) {
                __builtin_prefetch(next + at);
            }
        }
    }
    return true;
}

} // namespace trident_index
