// Two threads that compute one text together: each has half of every product's columns, and so reads half of the
// weights, which is what a lone query waits for.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <sched.h>
#include <thread>

namespace trident {

constexpr int kPatientPauses = 100; // some microseconds

inline void pause_once() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// What a member is told whose other cannot go on.
struct Broken : std::exception {};

struct Gang {
    int members = 1;
    float *scratch = nullptr; // of the first
    std::atomic<int> came{0}, meetings{0};
    std::atomic<int> cores[2] = {{-1}, {-1}};     // on which each waited last
    std::atomic<bool> broken{false};              // one of them threw
    std::chrono::steady_clock::duration waited{}; // by the first, longer than some microseconds

    // Returns when all members have called it, and sees what they wrote before; throws where the other cannot come.
    void meet(int member) {
        if (members == 1) {
            return;
        }
        const int meeting = meetings.load(std::memory_order_relaxed);
        if (came.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
            came.store(0, std::memory_order_relaxed);
            meetings.store(meeting + 1, std::memory_order_release);
            return;
        }
        wait(member, [&] { return meetings.load(std::memory_order_acquire) != meeting; });
    }

    // Waits for what the other does. A core is given away only where the other waits for that very one: a third program
    // that has it would keep it for milliseconds.
    template <typename Done> void wait(int member, Done done) {
        std::chrono::steady_clock::time_point since;
        bool is_long = false;
        for (int times = 0; !done(); ++times) {
            if (broken.load(std::memory_order_relaxed)) {
                throw Broken();
            }
            if (times % kPatientPauses == kPatientPauses - 1) {
                const int core = sched_getcpu();
                cores[member].store(core, std::memory_order_relaxed);
                if (cores[1 - member].load(std::memory_order_relaxed) == core) {
                    std::this_thread::yield();
                }
                if (!is_long) {
                    is_long = true;
                    since = std::chrono::steady_clock::now();
                }
            }
            pause_once();
        }
        if (is_long && member == 0) {
            waited += std::chrono::steady_clock::now() - since;
        }
    }
};

// A thread that waits to help one caller at a time.
class Helper {
  public:
    using Run = std::function<void(Gang &gang, int member)>;

    ~Helper();
    // Calls run(gang, 0) here and, where the helper is awake within some tens of microseconds, run(gang, 1) there.
    // Where the caller waited for longer than it computed, as it does while others keep the helper's core, the next
    // calls go on alone: one, two, four and so on.
    void run(const Run &run);
    // Calls work(), which does not throw, here at once, and there as soon as the helper is awake, if it is before the
    // end here.
    void share(const std::function<void()> &work);

  private:
    struct State;
    bool offer(const Run &run);
    void take_back();
    bool shared(const Run &run);
    void rest_after(bool was_in_vain);
    bool rests();

    std::shared_ptr<State> state_; // shared with the thread, which outlives the helper by a moment
    std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
    int process_ = 0;          // in which the thread lives: a fork has none
    std::atomic<int> rest_{0}; // calls that go on alone
    std::atomic<int> last_rest_{0};
};

} // namespace trident
