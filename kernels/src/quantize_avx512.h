// Rounds a row of an input to 8 bits with AVX-512; see eight_bits.h, and what is defined before it is included.

constexpr float kSmallest = 1e-6f; // a row of smaller numbers counts as zeros

inline __mmask16 first(int count) {
    return _cvtu32_mask16(count >= kLanes ? 0xffff : count <= 0 ? 0 : (1u << count) - 1);
}

inline __m512 smoothed(const Codes &codes, const float *x, int input, int inputs) {
    const __mmask16 inside = first(inputs - input);
    return _mm512_mul_ps(_mm512_maskz_loadu_ps(inside, x + input),
                         _mm512_maskz_loadu_ps(inside, codes.columns.get() + input));
}

inline float quantize(const Codes &codes, const float *x, int inputs, Code *to, int padded_inputs) {
    __m512 largest = _mm512_setzero_ps();
    for (int input = 0; input < inputs; input += kLanes) {
        largest = _mm512_max_ps(largest, _mm512_abs_ps(smoothed(codes, x, input, inputs)));
    }
    const float size = std::max(_mm512_reduce_max_ps(largest), kSmallest);
    const __m512 by = _mm512_set1_ps(1.0f / (size * codes.step));
    const __m512i zero = _mm512_set1_epi32(codes.zero), top = _mm512_set1_epi32(255);
    for (int input = 0; input < padded_inputs; input += kLanes) {
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(smoothed(codes, x, input, inputs), by));
        const __m512i rounded = _mm512_add_epi32(whole, zero);
        const __m512i bounded = _mm512_max_epi32(_mm512_min_epi32(rounded, top), _mm512_setzero_si512());
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to + input), _mm512_cvtepi32_epi8(bounded));
    }
    return size * codes.step;
}
