// Attention of one row's tokens; included by forward.h for each instruction set, in its namespace.

// Turns the queries and keys of one row's tokens, each pair of a head's halves by its place.
void rotate(const Model &model, const Rotation &rotation, int joined_width, int tokens, float *joined) {
    const int half = model.width / model.heads / 2;
    for (int token = 0; token < tokens; ++token, joined += joined_width) {
        const float *cosines = rotation.cosines.data() + static_cast<std::size_t>(token) * half;
        const float *sines = rotation.sines.data() + static_cast<std::size_t>(token) * half;
        for (int head = 0; head < 2 * model.heads; ++head) { // keys lie behind the queries
            float *left = joined + head * 2 * half, *right = left + half;
            for (int part = 0; part < half; ++part) {
                const float first = left[part], second = right[part];
                left[part] = first * cosines[part] - second * sines[part];
                right[part] = second * cosines[part] + first * sines[part];
            }
        }
    }
}

constexpr float kNone = -1e30f; // the score of a token that is not looked at
constexpr int kTogether = 4;    // tokens whose scores are computed side by side

// The scores of at most kTogether tokens for the keys from `start` to `end`, a row of `across` numbers for each token.
inline void score_tokens(const float *queries, int query_width, int tokens, const float *keys, int across,
                         int head_width, int start, int end, float *scores) {
    const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(head_width));
    const float *query[kTogether]; // the last one again where there are fewer
    for (int token = 0; token < kTogether; ++token) {
        query[token] = queries + static_cast<std::size_t>(std::min(token, tokens - 1)) * query_width;
    }
    for (int other = start; other < end; other += LANES) {
        Vector sums[kTogether] = {};
        for (int part = 0; part < head_width; ++part) {
            const Vector key = load(keys + part * across + other);
#pragma GCC unroll 4
            for (int token = 0; token < kTogether; ++token) {
                sums[token] += query[token][part] * key;
            }
        }
#pragma GCC unroll 4
        for (int token = 0; token < kTogether; ++token) {
            store(scores + token * across + other, sums[token] * scale);
        }
    }
}

// context = softmax(Q K' / sqrt(d)) V for each head and the first `asked` of one row's tokens, over those that are no
// further away than the layer's window. Keys are turned around first, so that a vector holds the scores of neighbouring
// tokens.
void attend(const Model &model, int window, const float *joined, int joined_width, int tokens, int asked, float *keys,
            float *all_scores, float *context) {
    const int width = model.width, head_width = width / model.heads;
    const int across = (tokens + LANES - 1) / LANES * LANES, whole_head = head_width / LANES * LANES;
    const Vector none = Vector{} + kNone;
    Vector places;
    for (int lane = 0; lane < LANES; ++lane) {
        places[lane] = static_cast<float>(lane);
    }
    for (int head = 0; head < model.heads; ++head) {
        const float *queries = joined + head * head_width;
        std::fill(keys, keys + static_cast<std::size_t>(head_width) * across, 0.0f);
        for (int token = 0; token < tokens; ++token) {
            for (int part = 0; part < head_width; ++part) {
                keys[part * across + token] = queries[static_cast<std::size_t>(token) * joined_width + width + part];
            }
        }
        const float *values = queries + 2 * width;
        for (int token = 0; token < asked; ++token) {
            const int start = window < 0 ? 0 : std::max(token - window, 0);
            const int end = window < 0 ? tokens : std::min(token + window + 1, tokens);
            const int whole_start = start / LANES * LANES, whole_end = (end + LANES - 1) / LANES * LANES;
            float *scores = all_scores + token % kTogether * across;
            if (token % kTogether == 0) { // of the tokens after it as well, whose windows end later
                const int last = std::min(end + kTogether, across);
                score_tokens(queries + static_cast<std::size_t>(token) * joined_width, joined_width, asked - token,
                             keys, across, head_width, whole_start, (last + LANES - 1) / LANES * LANES, scores);
            }
            Vector highest = none, sums = {};
            for (int other = whole_start; other < whole_end; other += LANES) {
                const Vector at = places + static_cast<float>(other), found = load(scores + other);
                const Vector next = at < static_cast<float>(start)  ? none
                                    : at >= static_cast<float>(end) ? none
                                                                    : found;
                store(scores + other, next);
                highest = next > highest ? next : highest;
            }
            const float largest = largest_of(highest);
            for (int other = whole_start; other < whole_end; ++other) {
                scores[other] = exponential(scores[other] - largest); // of none next to nothing
            }
            for (int other = whole_start; other < whole_end; other += LANES) {
                sums += load(scores + other);
            }
            const float share = 1.0f / sum_of(sums);
            float *out = context + static_cast<std::size_t>(token) * width + head * head_width;
            for (int part = 0; part < whole_head; part += LANES) {
                Vector sum = {};
                for (int other = start; other < end; ++other) {
                    sum += scores[other] * load(values + static_cast<std::size_t>(other) * joined_width + part);
                }
                store(out + part, sum * share);
            }
            for (int part = whole_head; part < head_width; ++part) {
                float sum = 0;
                for (int other = start; other < end; ++other) {
                    sum += scores[other] * values[static_cast<std::size_t>(other) * joined_width + part];
                }
                out[part] = sum * share;
            }
        }
    }
}
