// Work dealt out among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "../gang.h"

namespace trident_index {

// Calls run(number) for 0 to count - 1, in any order, on so many threads; throws what the first of them threw. Two
// threads that are wanted at once are the caller and one that waits: it takes what is left when it is awake.
template <typename Run> void deal_out(std::size_t count, int threads, Run run, bool at_once = false) {
    const auto workers = static_cast<int>(std::min<std::size_t>(count, static_cast<std::size_t>(std::max(threads, 1))));
    if (workers <= 1) {
        for (std::size_t number = 0; number < count; ++number) {
            run(number);
        }
        return;
    }
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto work = [&] {
        try {
            for (std::size_t number = next++; number < count; number = next++) {
                run(number);
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failing);
            failure = failure == nullptr ? std::current_exception() : failure;
            next = count;
        }
    };
    if (at_once && workers == 2) {
        static trident::Helper &helper = *new trident::Helper; // for as long as the process lives
        helper.share(work);
    } else {
        std::vector<std::thread> others;
        for (int number = 1; number < workers; ++number) {
            others.emplace_back(work);
        }
        work();
        for (std::thread &other : others) {
            other.join();
        }
    }
    if (failure != nullptr) {
        std::rethrow_exception(failure);
    }
}

} // namespace trident_index
