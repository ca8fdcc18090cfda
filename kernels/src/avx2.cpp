// The kernel for processors with AVX2 and FMA: 16 registers of 8 floats.
#include "model.h"

#include <algorithm>
#include <cstring>

#pragma GCC target("avx2,fma")
#define INSTRUCTIONS avx2
#define LANES 8
#define ROWS 6
#include "forward.h"

namespace trident {
const Kernel kAvx2 = {"avx2", avx2::kColumns, avx2::forward};
}
