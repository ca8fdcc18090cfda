// Builds a graph of vectors and searches it, and all of them, by every form of the products, without Python.
//
//     index_program INPUT OUTPUT
//
// writes OUTPUT.NAME with the graph, then what its walks and what comparing all found, and prints the names.
#include "index/build.h"
#include "index/walk.h"
#include "reading.h"

#include <string>

using namespace trident_index;

int main(int count, char **arguments) {
    if (count != 3) {
        std::fprintf(stderr, "index_program INPUT OUTPUT\n");
        return 2;
    }
    Numbers numbers(arguments[1]);
    const auto sizes = numbers.take<std::uint32_t>(8);
    const std::size_t vectors = sizes[0], stride = sizes[1], dimension = sizes[2], queries = sizes[3];
    const std::size_t depth = sizes[4], links = sizes[5], ef = sizes[6], round = sizes[7];
    const auto rows = numbers.take<std::int8_t>(vectors * stride);
    const auto scales = numbers.take<float>(vectors), lost = numbers.take<float>(vectors);
    const auto full = numbers.take<float>(vectors * dimension);
    const auto order = numbers.take<std::uint32_t>(vectors);
    const auto levels = numbers.take<std::uint8_t>(vectors);
    const auto asked = numbers.take<float>(queries * dimension);
    const Codes codes = {rows.data(), scales.data(), vectors, stride};
    const Vectors in_memory(full.data(), dimension);
    for (const Dots *dots : all_dots()) {
        Builder builder(codes, *dots, order, levels, Builder::Settings{links, ef, round, 2});
        while (builder.add_round() < vectors) {
        }
        std::vector<std::uint32_t> lowest(vectors * builder.lowest_width());
        std::vector<std::uint32_t> upper(builder.upper_count() * builder.upper_width());
        builder.write_lowest(lowest.data());
        builder.write_upper(upper.data());
        const Scanned scanned = {&codes, lost.data(), &in_memory, dots};
        const Searched searched = {scanned,
                                   {lowest.data(), builder.lowest_width()},
                                   {upper.data(), builder.upper_width(), builder.upper_entry()},
                                   builder.entry()};
        std::vector<std::int64_t> near(queries * depth), best(queries * depth), found(queries);
        std::vector<float> near_cosines(queries * depth), best_cosines(queries * depth);
        search(searched, {}, asked.data(), queries, {ef, depth, vectors, 0.0f, 1.0f}, 1, near.data(),
               near_cosines.data(), found.data());
        scan(scanned, {}, asked.data(), queries, depth, 1, best.data(), best_cosines.data());
        std::FILE *to = std::fopen((std::string(arguments[2]) + "." + dots->name).c_str(), "wb");
        if (to == nullptr) {
            std::perror(arguments[2]);
            return 2;
        }
        write(to, lowest.data(), lowest.size());
        write(to, upper.data(), upper.size());
        write(to, near.data(), near.size());
        write(to, near_cosines.data(), near_cosines.size());
        write(to, best.data(), best.size());
        write(to, best_cosines.data(), best_cosines.size());
        std::fclose(to);
        std::printf("%s\n", dots->name);
    }
    return 0;
}
