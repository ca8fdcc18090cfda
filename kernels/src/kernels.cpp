// Which kernels this processor runs.
#include "model.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace trident {

#if defined(__x86_64__)

std::vector<const Kernel *> kernels() {
    std::vector<const Kernel *> found;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        found.push_back(&kAvx512);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        found.push_back(&kAvx2);
    }
    return found;
}

Pack eight_bits(const Kernel &kernel) {
    if (&kernel == &kAvx2) {
        return kAvx2Pack;
    }
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512vnni") ? kVnniPack : nullptr;
}

#elif defined(__aarch64__)

std::vector<const Kernel *> kernels() { return {&kNeon}; }

Pack eight_bits(const Kernel &) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? kNeonPack : nullptr; }

#else

std::vector<const Kernel *> kernels() { return {}; }

Pack eight_bits(const Kernel &) { return nullptr; }

#endif

} // namespace trident
