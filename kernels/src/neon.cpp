// The kernel for processors of ARM, 64 bits: 32 registers of 4 floats.
#if defined(__aarch64__)
#include "model.h"

#include <algorithm>
#include <cstring>

#define INSTRUCTIONS neon
#define LANES 4
#define ROWS 10
#include "forward.h"

namespace trident {
const Kernel kNeon = {"neon", neon::kColumns, neon::forward};
}
#endif
