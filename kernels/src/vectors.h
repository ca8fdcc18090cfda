// Vectors of LANES floats, and functions of floats that compilers turn into vectors; included by forward.h for each
// instruction set, in its namespace.

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
constexpr int kColumns = 2 * LANES;

// Wherever floats lie. Not by memcpy: GCC 12 takes 16 bytes through other registers on ARM.
typedef float Unaligned __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

inline Vector load(const float *from) { return *reinterpret_cast<const Unaligned *>(from); }

// Puts the lanes of a vector together, halves over halves.
template <typename Join> [[gnu::always_inline]] inline float folded(Vector vector, Join join) {
    alignas(sizeof(Vector)) float lanes[LANES];
    std::memcpy(lanes, &vector, sizeof vector);
#pragma GCC unroll 8
    for (int half = LANES / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
        for (int lane = 0; lane < half; ++lane) {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
    }
    return lanes[0];
}

inline float sum_of(Vector vector) {
    return folded(vector, [](float one, float other) { return one + other; });
}

inline float largest_of(Vector vector) {
    return folded(vector, [](float one, float other) { return std::max(one, other); });
}

inline void store(float *to, Vector vector) { *reinterpret_cast<Unaligned *>(to) = vector; }

// e^x for x <= 0, to the last bits of a float: 2^n times a polynomial. Below -87 it is e^-87.
inline float exponential(float x) {
    x = std::max(x, -87.0f);
    const float n = __builtin_floorf(x * 1.44269504f + 0.5f);
    const float rest = (x - n * 0.693359375f) - n * -2.12194440e-4f; // x - n ln 2, in two parts
    float sum = 1.9875691500e-4f;                                    // Cephes' expf
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return (sum * rest * rest + rest + 1.0f) * power;
}

// x times the share of a normal distribution below x: x (1 + erf(x / sqrt 2)) / 2, erf by a quotient of polynomials
// (the one of Eigen and XLA).
inline float gelu(float x) {
    const float scaled = std::min(std::max(x * 0.70710678f, -4.0f), 4.0f);
    const float square = scaled * scaled;
    float above = -2.72614225801306e-10f;
    above = above * square + 2.77068142495902e-08f;
    above = above * square + -2.10102402082508e-06f;
    above = above * square + -5.69250639462346e-05f;
    above = above * square + -7.34990630326855e-04f;
    above = above * square + -2.95459980854025e-03f;
    above = above * square + -1.60960333262415e-02f;
    float below = -1.45660718464996e-05f;
    below = below * square + -2.13374055278905e-04f;
    below = below * square + -1.68282697438203e-03f;
    below = below * square + -7.37332916720468e-03f;
    below = below * square + -1.42647390514189e-02f;
    return 0.5f * x * (1.0f + scaled * above / below);
}
