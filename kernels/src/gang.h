// Two threads that compute one text together: each has half of every product's columns, and so reads half of the
// weights, which is what a lone query waits for.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

namespace trident {

inline void pause_a_little(int times) {
    if (times > 100) { // some microseconds: the other may wait for this very core
        std::this_thread::yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

struct Gang {
    int members = 1;
    float *scratch = nullptr; // of the first
    std::atomic<int> came{0}, meetings{0};

    // Returns when all members have called it, and sees what they wrote before.
    void meet() {
        if (members == 1) {
            return;
        }
        const int meeting = meetings.load(std::memory_order_relaxed);
        if (came.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
            came.store(0, std::memory_order_relaxed);
            meetings.store(meeting + 1, std::memory_order_release);
            return;
        }
        for (int times = 0; meetings.load(std::memory_order_acquire) == meeting; ++times) {
            pause_a_little(times);
        }
    }
};

// A thread that waits to help one caller at a time.
class Helper {
  public:
    using Run = std::function<void(Gang &gang, int member)>;

    ~Helper();
    // Calls run(gang, 0) here and, where the helper is awake within some tens of microseconds, run(gang, 1) there.
    void run(const Run &run);
    // Calls work() here at once, and there as soon as the helper is awake, if it is before the end here.
    void share(const std::function<void()> &work);

  private:
    struct State;
    bool offer(const Run &run);
    void take_back();

    std::shared_ptr<State> state_; // shared with the thread, which outlives the helper by a moment
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
    int process_ = 0; // in which the thread lives: a fork has none
};

} // namespace trident
