// The kernel for processors with AVX2 and FMA: 16 registers of 8 floats.
#if defined(__x86_64__)
#include "model.h"
#include "target.h"

#include <algorithm>
#include <cstring>

TARGET("avx2,fma")
#define INSTRUCTIONS avx2
#define LANES 8
#define ROWS 6
#include "forward.h"

namespace trident {
const Kernel kAvx2 = {"avx2", avx2::kColumns, avx2::forward};
}
END_TARGET
#endif
