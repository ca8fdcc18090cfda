// The numbers of a file one after the other, as tests/unit/native/test_other_processors.py writes them.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

class Numbers {
  public:
    explicit Numbers(const char *path) : file_(std::fopen(path, "rb")) {
        if (file_ == nullptr) {
            std::perror(path);
            std::exit(2);
        }
    }
    Numbers(const Numbers &) = delete;
    Numbers &operator=(const Numbers &) = delete;
    ~Numbers() { std::fclose(file_); }

    template <typename T> std::vector<T> take(std::size_t count) {
        std::vector<T> taken(count);
        if (std::fread(taken.data(), sizeof(T), count, file_) != count) {
            std::fprintf(stderr, "the file is too short\n");
            std::exit(2);
        }
        return taken;
    }

  private:
    std::FILE *file_;
};

// Adds numbers to the end of a file.
template <typename T> void write(std::FILE *to, const T *numbers, std::size_t count) {
    if (std::fwrite(numbers, sizeof(T), count, to) != count) {
        std::perror("the output");
        std::exit(2);
    }
}
