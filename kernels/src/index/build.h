// Builds the graph of walk.h, the same on any number of threads.
#pragma once

#include "codes.h"
#include "scan.h"
#include "walk.h"

#include <atomic>

namespace trident_index {

// Vectors are added in rounds: the searches of a round run side by side in the graph as it was before, and then the
// links to them are made, each vector's by one thread. So nothing depends on who was first.
//
// Source: Malkov and Yashunin 2016, algorithms 1 and 4; rounds: Manohar et al. 2024 (ParlayANN), section 3.
class Builder {
  public:
    struct Settings {
        std::size_t links = 0;          // of a vector, twice as many in the lowest layer
        std::size_t ef = 0;             // candidates while building
        std::size_t largest_round = 0;  // vectors added at once
        int threads = 1;
    };

    // order (count): the labels as they are added; levels (count): the highest layer of each label.
    Builder(const Codes &codes, const Dots &dots, std::vector<std::uint32_t> order, std::vector<std::uint8_t> levels,
            const Settings &settings);

    // Adds the next round, and returns how many vectors are in; the last one cuts the rows of links to their width.
    std::size_t add_round();
    std::size_t count() const { return order_.size(); }

    std::size_t lowest_width() const { return 2 * settings_.links; }
    void write_lowest(std::uint32_t *rows) const; // (count, lowest_width)
    std::size_t upper_count() const { return upper_total_; }
    std::size_t upper_width() const { return 2 + settings_.links; }
    void write_upper(std::uint32_t *rows) const; // (upper_count, upper_width), as Upper has them
    std::uint32_t entry() const { return entry_; }
    std::uint32_t upper_entry() const;

  private:
    struct Link {
        std::uint32_t to;
        std::uint32_t from;
        std::uint8_t layer;
    };

    std::size_t width(int layer) const { return layer == 0 ? lowest_cap_ : settings_.links; }
    std::size_t most(int layer) const { return layer == 0 ? 2 * settings_.links : settings_.links; }
    std::uint32_t *row(std::uint32_t label, int layer);
    const std::uint32_t *row(std::uint32_t label, int layer) const;
    void find(std::uint32_t label, std::vector<Link> &links);
    void link(const Link *links, std::size_t count);
    void cut(std::uint32_t label);
    void spread(std::uint32_t label, const std::vector<std::uint64_t> &near, std::size_t most,
                std::vector<std::uint32_t> &chosen) const;

    const Codes &codes_;
    const Dots &dots_;
    std::vector<std::uint32_t> order_;
    std::vector<std::uint8_t> levels_;
    Settings settings_;
    std::size_t lowest_cap_;
    std::size_t done_ = 0;
    std::uint32_t entry_ = 0;
    std::vector<std::uint32_t> lowest_;      // (count, lowest_cap)
    std::vector<std::uint32_t> upper_start_; // (count) row of the label's layer 1 in upper_
    std::size_t upper_total_ = 0;
    std::vector<std::uint32_t> upper_; // (upper_total, links), of labels
};

} // namespace trident_index
