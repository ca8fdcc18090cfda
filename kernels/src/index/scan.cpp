// A product of codes is off by no more than what rounding took away (Cauchy and Schwarz): so the best are among those
// whose score comes within that of the best. These few are compared in full. Source: "Flat" and "SQ8 with refinement"
// of Faiss, with a bound instead of a factor.
#include "scan.h"

#include "threads.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace trident_index {

namespace {

constexpr std::size_t kBlockRows = 256;     // whose codes stay in the cache while the queries pass over them
constexpr std::size_t kQueries = 16;        // at a time
constexpr std::size_t kShareRows = 1 << 12; // of a thread's share, at least
constexpr float kRounding = 2e-6f;          // of the sums here in float32, and of the cosines compared

struct Candidate {
    float score;
    float off; // how far the cosine may be from it
    std::uint32_t label;
};

// What one thread keeps of one query.
class Best {
  public:
    Best(std::size_t depth, float query_scale, float query_lost, float query_norm)
        : depth_(depth), scale_(query_scale), query_lost_(query_lost), query_norm_(query_norm) {}

    void look(std::int32_t product, float vector_scale, float vector_lost, std::uint32_t label,
              const Permitted &permitted) {
        const float score = static_cast<float>(product) * vector_scale * scale_;
        const float off = vector_lost * query_norm_ + query_lost_ * (1.01f + vector_lost) + kRounding;
        if (score + off < least_ || !permitted.has(label)) {
            return;
        }
        candidates_.push_back({score, off, label});
        certain_.push_back(score - off);
        std::push_heap(certain_.begin(), certain_.end(), std::greater<>());
        if (certain_.size() > depth_) {
            std::pop_heap(certain_.begin(), certain_.end(), std::greater<>());
            certain_.pop_back();
        }
        if (certain_.size() == depth_) {
            least_ = certain_.front();
            if (candidates_.size() > 4 * depth_ + 1024) {
                drop();
            }
        }
    }
    float least() const { return least_; }

    void join(const Best &other) {
        candidates_.insert(candidates_.end(), other.candidates_.begin(), other.candidates_.end());
    }

    // Writes the nearest; see scan.
    void finish(const Vectors &vectors, const float *query, std::int64_t *labels, float *cosines) {
        std::sort(candidates_.begin(), candidates_.end(), [](const Candidate &left, const Candidate &right) {
            return left.score != right.score ? left.score > right.score : left.label < right.label;
        });
        const std::size_t dimension = vectors.dimension();
        const std::vector<double> wide = in_double(query, dimension);
        std::vector<float> buffer(dimension);
        std::vector<std::uint64_t> found;
        std::vector<float> best; // the depth best cosines, the worst in front
        for (const Candidate &candidate : candidates_) {
            if (best.size() == depth_ && candidate.score + candidate.off < best.front()) {
                continue;
            }
            const float full = cosine(vectors.row(candidate.label, buffer.data()), wide.data(), dimension);
            found.push_back(key(full, candidate.label));
            best.push_back(full);
            std::push_heap(best.begin(), best.end(), std::greater<>());
            if (best.size() > depth_) {
                std::pop_heap(best.begin(), best.end(), std::greater<>());
                best.pop_back();
            }
        }
        std::sort(found.begin(), found.end(), std::greater<>());
        for (std::size_t rank = 0; rank < depth_; ++rank) {
            labels[rank] = rank < found.size() ? static_cast<std::int64_t>(label_of(found[rank])) : -1;
            cosines[rank] = rank < found.size() ? score_of(found[rank]) : std::numeric_limits<float>::quiet_NaN();
        }
    }

  private:
    void drop() {
        const auto hopeless = [this](const Candidate &candidate) { return candidate.score + candidate.off < least_; };
        candidates_.erase(std::remove_if(candidates_.begin(), candidates_.end(), hopeless), candidates_.end());
        // Where many are as good as the worst, dropping would be tried again and again for nothing.
        candidates_.reserve(2 * candidates_.size());
    }

    std::size_t depth_;
    float scale_, query_lost_, query_norm_;
    float least_ = -std::numeric_limits<float>::infinity(); // that the depth best are at least as good as
    std::vector<float> certain_;
    std::vector<Candidate> candidates_;
};

void look_at(const Scanned &scanned, const Permitted &permitted, const std::vector<Query> &queries, std::size_t from,
             std::size_t to, std::vector<Best> &best) {
    std::vector<const std::int16_t *> codes;
    for (const Query &query : queries) {
        codes.push_back(query.codes.get());
    }
    std::vector<std::int32_t> products(queries.size() * kBlockRows);
    for (std::size_t first = from; first < to; first += kBlockRows) {
        const std::size_t rows = std::min(kBlockRows, to - first);
        if (permitted.labels != nullptr) {
            for (std::size_t number = 0; number < queries.size(); ++number) {
                scanned.dots->of_labels(codes[number], *scanned.codes, permitted.labels + first, rows,
                                        products.data() + number * rows);
            }
        } else {
            scanned.dots->of_range(codes.data(), codes.size(), *scanned.codes, first, rows, products.data());
        }
        for (std::size_t number = 0; number < queries.size(); ++number) {
            for (std::size_t at = 0; at < rows; ++at) {
                const auto label = permitted.labels != nullptr ? permitted.labels[first + at]
                                                               : static_cast<std::uint32_t>(first + at);
                best[number].look(products[number * rows + at], scanned.codes->scales[label], scanned.lost[label],
                                  label, permitted);
            }
        }
    }
}

} // namespace

void scan(const Scanned &scanned, const Permitted &permitted, const float *queries, std::size_t query_count,
          std::size_t depth, int threads, std::int64_t *labels, float *cosines) {
    const std::size_t dimension = scanned.vectors->dimension();
    const std::size_t rows = permitted.labels != nullptr ? permitted.label_count : scanned.codes->count;
    const std::size_t shares =
        threads > 1 ? std::max<std::size_t>(1, std::min<std::size_t>(2 * static_cast<std::size_t>(threads), rows / kShareRows))
                    : 1;
    for (std::size_t start = 0; start < query_count; start += kQueries) {
        std::vector<Query> block;
        for (std::size_t number = start; number < std::min(query_count, start + kQueries); ++number) {
            block.emplace_back(queries + number * dimension, dimension, scanned.codes->stride);
        }
        std::vector<std::vector<Best>> best(shares);
        for (std::vector<Best> &share : best) {
            for (const Query &query : block) {
                share.emplace_back(depth, query.scale, query.lost, query.norm);
            }
        }
        deal_out(shares, threads, [&](std::size_t share) {
            look_at(scanned, permitted, block, rows * share / shares, rows * (share + 1) / shares, best[share]);
        }, true);
        deal_out(block.size(), threads, [&](std::size_t number) {
            for (std::size_t share = 1; share < shares; ++share) {
                best[0][number].join(best[share][number]);
            }
            const std::size_t line = start + number;
            best[0][number].finish(*scanned.vectors, queries + line * dimension, labels + line * depth,
                                   cosines + line * depth);
        });
    }
}

} // namespace trident_index
