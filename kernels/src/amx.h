// The tiles of AMX: eight registers of at most 16 rows of 64 bytes. A row's sums do not depend on how many rows there
// are.
//
// Sums lie in tiles 0 to 3: of the first rows and the first 16 outputs, the first rows and the next 16 outputs, and the
// same of the second rows. Inputs of the first rows go through tile 4, of the second rows through tile 5, weights
// through tiles 6 and 7. What is loaded lies at multiples of 64 bytes: elsewhere a load takes several times as long.
//
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

constexpr int kTileRows = 16, kTileBytes = 64; // of a row

// The tiles' shapes, as LDTILECFG reads them.
struct alignas(64) TileShapes {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t bytes[16] = {};
    std::uint8_t rows[16] = {};

    // Shapes the tiles for so many first and second rows; of the latter there may be none.
    void become(int first, int second) {
        if (rows[0] == first && rows[2] == second) {
            return;
        }
        const int wanted[8] = {first, first, second, second, first, second, kTileRows, kTileRows};
        for (int tile = 0; tile < 8; ++tile) {
            rows[tile] = static_cast<std::uint8_t>(wanted[tile]);
            bytes[tile] = wanted[tile] > 0 ? kTileBytes : 0;
        }
        _tile_loadconfig(this);
    }
};

// Calls run(from, first, second) for tokens in pairs of tiles, each of about as many rows.
template <typename Run> void in_pairs(int tokens, Run run) {
    in_tiles(tokens, 2 * kTileRows, [&](int from, int to) {
        const int rows = to - from, first = rows > kTileRows ? (rows + 1) / 2 : rows;
        run(from, first, rows - first);
    });
}
