// Which kernels this processor runs.
#include "model.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace trident {

#if defined(__x86_64__)

namespace {

// AMX, in bfloat16 and in 8 bits, and AVX-512 with bfloat16: CPUID, leaf 7. GCC 12 knows no names of them to ask for.
bool has_tiles() {
    unsigned int a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) {
        return false;
    }
    constexpr unsigned int kBfloat16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25, kAll = kBfloat16 | kTile | kInt8;
    return (d & kAll) == kAll && __builtin_cpu_supports("avx512bf16") && tiles_allowed();
}

} // namespace

std::vector<const Kernel *> kernels() {
    std::vector<const Kernel *> found;
    __builtin_cpu_init();
    if (has_tiles()) {
        found.push_back(&kAmx);
    }
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
    if (&kernel == &kAmx) {
        return kAmxPack;
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
