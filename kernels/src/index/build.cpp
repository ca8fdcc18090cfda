#include "build.h"

#include "threads.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <limits>
#include <utility>

namespace trident_index {

namespace {

constexpr std::size_t kGrowth = 8; // a round adds at most an eighth of what is there
// A link is left out where a chosen one is nearer to its end by this factor: a few links too many make walks shorter.
// Source: alpha of Subramanya et al. 2019 (DiskANN); 1.08 measured, docs/log/index.md.
constexpr float kApart = 1.08f;
const Permitted kAll;

// Links vectors that no other one links to, since each thought them reached through others: a walk would never meet them.
// The nearest of their own links that has room leads to them; or else the first, from their own links on, that has a link
// to where others lead as well, and which it gives up.
void link_the_lost(std::vector<std::uint32_t> &rows, std::size_t width, std::size_t most,
                   const std::vector<std::uint32_t> &order) {
    std::vector<std::uint32_t> leading(order.size()); // how many link to each
    for (const std::uint32_t link : rows) {
        if (link != kNone) {
            ++leading[link];
        }
    }
    const auto link_from = [&](std::uint32_t from, std::uint32_t label, bool may_give_up) {
        std::uint32_t *other = rows.data() + from * width;
        std::uint32_t *place = std::find(other, other + most, kNone);
        if (place == other + most) {
            const auto is_spare = [&](std::uint32_t link) { return leading[link] > 1; };
            const auto last = std::find_if(std::make_reverse_iterator(place), std::make_reverse_iterator(other), is_spare);
            if (!may_give_up || last == std::make_reverse_iterator(other)) {
                return false;
            }
            place = &*last;
            --leading[*place];
        }
        *place = label;
        ++leading[label];
        return true;
    };
    for (const std::uint32_t label : order) {
        if (leading[label] != 0) {
            continue;
        }
        const std::uint32_t *own = rows.data() + label * width;
        std::vector<std::uint32_t> near(own, std::find(own, own + most, kNone));
        if (std::any_of(near.begin(), near.end(), [&](std::uint32_t from) { return link_from(from, label, false); })) {
            continue;
        }
        for (std::size_t at = 0; at < near.size() && !link_from(near[at], label, true); ++at) {
            const std::uint32_t *further = rows.data() + near[at] * width;
            std::copy_if(further, std::find(further, further + most, kNone), std::back_inserter(near),
                         [&](std::uint32_t link) { return std::find(near.begin(), near.end(), link) == near.end(); });
        }
    }
}

} // namespace

Builder::Builder(const Codes &codes, const Dots &dots, std::vector<std::uint32_t> order,
                 std::vector<std::uint8_t> levels, const Settings &settings)
    : codes_(codes), dots_(dots), order_(std::move(order)), levels_(std::move(levels)), settings_(settings),
      // Rows have room for more links than will be kept, so that they are thinned out less often.
      lowest_cap_((2 * settings.links + settings.links / 2 + 15) / 16 * 16) {
    upper_start_.resize(codes.count);
    for (std::size_t label = 0; label < codes.count; ++label) {
        upper_start_[label] = static_cast<std::uint32_t>(upper_total_);
        upper_total_ += levels_[label];
    }
    lowest_.assign(codes.count * lowest_cap_, kNone);
    upper_.assign(upper_total_ * settings_.links, kNone);
}

std::uint32_t *Builder::row(std::uint32_t label, int layer) {
    return const_cast<std::uint32_t *>(std::as_const(*this).row(label, layer));
}

const std::uint32_t *Builder::row(std::uint32_t label, int layer) const {
    return layer == 0 ? lowest_.data() + label * lowest_cap_
                      : upper_.data() + (upper_start_[label] + static_cast<std::size_t>(layer) - 1) * settings_.links;
}

std::size_t Builder::add_round() {
    if (done_ == 0 && !order_.empty()) {
        entry_ = order_[0];
        done_ = 1;
    }
    const std::size_t size =
        std::min({order_.size() - done_, std::max<std::size_t>(1, done_ / kGrowth), settings_.largest_round});
    const std::uint32_t *added = order_.data() + done_;
    std::vector<std::vector<Link>> of_each(size);
    deal_out(size, settings_.threads, [&](std::size_t number) { find(added[number], of_each[number]); });
    std::vector<Link> links;
    for (std::vector<Link> &each : of_each) {
        links.insert(links.end(), each.begin(), each.end());
    }
    std::sort(links.begin(), links.end(), [](const Link &left, const Link &right) {
        return std::make_pair(left.to, left.layer) != std::make_pair(right.to, right.layer)
                   ? std::make_pair(left.to, left.layer) < std::make_pair(right.to, right.layer)
                   : left.from < right.from;
    });
    std::vector<std::size_t> starts;
    for (std::size_t at = 0; at < links.size(); ++at) {
        if (at == 0 || links[at].to != links[at - 1].to || links[at].layer != links[at - 1].layer) {
            starts.push_back(at);
        }
    }
    deal_out(starts.size(), settings_.threads, [&](std::size_t group) {
        const std::size_t end = group + 1 < starts.size() ? starts[group + 1] : links.size();
        link(links.data() + starts[group], end - starts[group]);
    });
    for (std::size_t number = 0; number < size; ++number) {
        if (levels_[added[number]] > levels_[entry_]) {
            entry_ = added[number];
        }
    }
    done_ += size;
    if (done_ == order_.size()) {
        deal_out(order_.size(), settings_.threads, [&](std::size_t number) { cut(order_[number]); });
        link_the_lost(lowest_, lowest_cap_, most(0), order_);
    }
    return done_;
}

// Finds the links from a vector, writes them into its rows, which nobody sees yet, and returns them.
void Builder::find(std::uint32_t label, std::vector<Link> &links) {
    static thread_local Walk walk;
    static thread_local std::vector<std::uint64_t> near;
    static thread_local std::vector<std::uint32_t> chosen;
    const Aligned<std::int16_t> query = aligned<std::int16_t>(codes_.stride);
    widen(codes_.row(label), codes_.stride, query.get());
    std::uint32_t start = entry_;
    for (int layer = levels_[entry_]; layer >= 0; --layer) {
        const bool joins = layer <= levels_[label];
        const auto links_of = [this, layer](std::uint32_t of) { return row(of, layer); };
        walk_layer(walk, codes_, dots_, query.get(), links_of, width(layer), &start, 1, joins ? settings_.ef : 1, kAll,
                   std::numeric_limits<std::size_t>::max());
        near.assign(walk.found.begin(), walk.found.end());
        std::sort(near.begin(), near.end(), std::greater<>());
        start = label_of(near[0]);
        if (!joins) {
            continue;
        }
        spread(label, near, settings_.links, chosen);
        std::copy(chosen.begin(), chosen.end(), row(label, layer));
        for (const std::uint32_t to : chosen) {
            links.push_back({to, label, static_cast<std::uint8_t>(layer)});
        }
    }
}

// Adds links to one vector's row of one layer.
void Builder::link(const Link *links, std::size_t count) {
    const std::uint32_t to = links[0].to;
    const int layer = links[0].layer;
    std::uint32_t *own = row(to, layer);
    const std::size_t room = width(layer);
    std::vector<std::uint32_t> all(own, std::find(own, own + room, kNone));
    for (std::size_t at = 0; at < count; ++at) {
        all.push_back(links[at].from);
    }
    if (all.size() > room) {
        const Aligned<std::int16_t> query = aligned<std::int16_t>(codes_.stride);
        widen(codes_.row(to), codes_.stride, query.get());
        std::vector<std::int32_t> products(all.size());
        dots_.of_labels(query.get(), codes_, all.data(), all.size(), products.data());
        std::vector<std::uint64_t> near;
        for (std::size_t at = 0; at < all.size(); ++at) {
            near.push_back(key(static_cast<float>(products[at]) * codes_.scales[all[at]], all[at]));
        }
        std::sort(near.begin(), near.end(), std::greater<>());
        spread(to, near, most(layer), all);
    }
    std::copy(all.begin(), all.end(), own);
    std::fill(own + all.size(), own + room, kNone);
}

// Cuts the row of the lowest layer to its final width.
void Builder::cut(std::uint32_t label) {
    const std::uint32_t *own = row(label, 0);
    if (own[most(0)] == kNone) {
        return;
    }
    const Aligned<std::int16_t> query = aligned<std::int16_t>(codes_.stride);
    widen(codes_.row(label), codes_.stride, query.get());
    std::vector<std::uint64_t> near;
    for (std::size_t at = 0; at < lowest_cap_ && own[at] != kNone; ++at) {
        const std::int32_t product = dots_.one(query.get(), codes_.row(own[at]), codes_.stride);
        near.push_back(key(static_cast<float>(product) * codes_.scales[own[at]], own[at]));
    }
    std::sort(near.begin(), near.end(), std::greater<>());
    std::vector<std::uint32_t> chosen;
    spread(label, near, most(0), chosen);
    std::uint32_t *to = row(label, 0);
    std::copy(chosen.begin(), chosen.end(), to);
    std::fill(to + chosen.size(), to + lowest_cap_, kNone);
}

// Chooses among a label's near ones, nearest first, those that no one chosen before is much nearer to.
void Builder::spread(std::uint32_t label, const std::vector<std::uint64_t> &near, std::size_t most,
                     std::vector<std::uint32_t> &chosen) const {
    const Aligned<std::int16_t> query = aligned<std::int16_t>(codes_.stride);
    chosen.clear();
    for (const std::uint64_t place : near) {
        if (chosen.size() == most) {
            break;
        }
        const std::uint32_t candidate = label_of(place);
        if (candidate == label) {
            continue;
        }
        widen(codes_.row(candidate), codes_.stride, query.get());
        const float cosine = score_of(place) * codes_.scales[label];
        const float most_alike = 1.0f - (1.0f - cosine) / (kApart * kApart); // distances squared are 2 - 2 cosines
        const float scale = codes_.scales[candidate];
        const bool is_apart = std::all_of(chosen.begin(), chosen.end(), [&](std::uint32_t other) {
            const std::int32_t product = dots_.one(query.get(), codes_.row(other), codes_.stride);
            return static_cast<float>(product) * codes_.scales[other] * scale <= most_alike;
        });
        if (is_apart) {
            chosen.push_back(candidate);
        }
    }
}

void Builder::write_lowest(std::uint32_t *rows) const {
    for (std::size_t label = 0; label < codes_.count; ++label) {
        const std::uint32_t *from = lowest_.data() + label * lowest_cap_;
        std::copy(from, from + lowest_width(), rows + label * lowest_width());
    }
}

void Builder::write_upper(std::uint32_t *rows) const {
    for (std::size_t label = 0; label < codes_.count; ++label) {
        for (int layer = 1; layer <= levels_[label]; ++layer) {
            const std::size_t number = upper_start_[label] + static_cast<std::size_t>(layer) - 1;
            std::uint32_t *to = rows + number * upper_width();
            to[0] = static_cast<std::uint32_t>(label);
            to[1] = layer > 1 ? static_cast<std::uint32_t>(number - 1) : kNone;
            const std::uint32_t *from = upper_.data() + number * settings_.links;
            for (std::size_t at = 0; at < settings_.links; ++at) {
                to[2 + at] = from[at] == kNone ? kNone
                                               : upper_start_[from[at]] + static_cast<std::uint32_t>(layer) - 1;
            }
        }
    }
}

std::uint32_t Builder::upper_entry() const {
    return levels_[entry_] == 0 ? kNone : upper_start_[entry_] + levels_[entry_] - 1;
}

} // namespace trident_index
