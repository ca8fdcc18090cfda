#include "exact.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define FASTEST __attribute__((target_clones("avx2", "default")))
#else
#define FASTEST
#endif

namespace trident_index {

namespace {

constexpr std::size_t kMappedBytes = std::size_t{128} << 20; // smaller files are mapped: a row then costs no call
constexpr std::size_t kBlock = 128;                          // numbers that NumPy adds in eight sums (PW_BLOCKSIZE)

FASTEST double eight_sums(const float *vector, const double *query, std::size_t count) {
    double sums[8];
    for (std::size_t lane = 0; lane < 8; ++lane) {
        sums[lane] = vector[lane] * query[lane];
    }
    std::size_t at = 8;
    for (; at + 8 <= count; at += 8) {
        for (std::size_t lane = 0; lane < 8; ++lane) {
            sums[lane] += vector[at + lane] * query[at + lane];
        }
    }
    double sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    for (; at < count; ++at) {
        sum += vector[at] * query[at];
    }
    return sum;
}

// Source: pairwise_sum in NumPy's loops_utils.h.src.
double pairwise(const float *vector, const double *query, std::size_t count) {
    if (count < 8) {
        double sum = -0.0;
        for (std::size_t at = 0; at < count; ++at) {
            sum += vector[at] * query[at];
        }
        return sum;
    }
    if (count <= kBlock) {
        return eight_sums(vector, query, count);
    }
    const std::size_t half = count / 2 - count / 2 % 8;
    return pairwise(vector, query, half) + pairwise(vector + half, query + half, count - half);
}

} // namespace

Vectors::Vectors(const std::string &path, std::size_t offset, std::size_t count, std::size_t dimension)
    : dimension_(dimension), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)), offset_(offset) {
    if (file_ < 0) {
        throw std::runtime_error(path + " cannot be opened: " + std::strerror(errno));
    }
    posix_fadvise(file_, 0, 0, POSIX_FADV_RANDOM);
    const std::size_t bytes = offset + count * dimension * sizeof(float);
    if (bytes <= kMappedBytes) {
        void *mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file_, 0);
        if (mapped != MAP_FAILED) {
            mapped_ = mapped;
            mapped_bytes_ = bytes;
            rows_ = reinterpret_cast<const float *>(static_cast<const char *>(mapped) + offset);
        }
    }
}

Vectors::~Vectors() {
    if (mapped_ != nullptr) {
        munmap(mapped_, mapped_bytes_);
    }
    if (file_ >= 0) {
        close(file_);
    }
}

const float *Vectors::row(std::uint32_t label, float *buffer) const {
    if (rows_ != nullptr) {
        return rows_ + label * dimension_;
    }
    const std::size_t bytes = dimension_ * sizeof(float);
    std::size_t read = 0;
    while (read < bytes) {
        const ssize_t got = pread(file_, reinterpret_cast<char *>(buffer) + read, bytes - read,
                                  static_cast<off_t>(offset_ + label * bytes + read));
        if (got > 0) {
            read += static_cast<std::size_t>(got);
        } else if (got == 0 || errno != EINTR) {
            throw std::runtime_error(std::string("the file of vectors cannot be read: ") +
                                     (got == 0 ? "it was cut off" : std::strerror(errno)));
        }
    }
    return buffer;
}

float cosine(const float *vector, const double *query, std::size_t dimension) {
    const auto sum = static_cast<float>(pairwise(vector, query, dimension));
    return std::min(1.0f, std::max(-1.0f, sum));
}

std::vector<double> in_double(const float *query, std::size_t dimension) { return {query, query + dimension}; }

} // namespace trident_index
