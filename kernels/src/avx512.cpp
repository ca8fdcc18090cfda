// The kernel for processors with AVX-512: 32 registers of 16 floats.
#if defined(__x86_64__)
#include "model.h"
#include "target.h"

#include <algorithm>
#include <cstring>

TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define INSTRUCTIONS avx512
#define LANES 16
#define ROWS 12
#include "forward.h"

namespace trident {
const Kernel kAvx512 = {"avx512", avx512::kColumns, avx512::forward};
}
END_TARGET
#endif
