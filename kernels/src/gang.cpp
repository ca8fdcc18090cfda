// The thread that helps. See gang.h.
#include "gang.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

namespace trident {
namespace {

constexpr auto kPatience = std::chrono::microseconds(80); // a thread that waits is awake after 20 to 60

enum Job { kNone, kOffered, kTaken, kDone };

} // namespace

struct Helper::State {
    std::mutex lock;
    std::condition_variable offered;
    std::atomic<int> job{kNone};
    bool ends = false;
    const Run *run = nullptr;
    Gang gang;
    pthread_t thread{};
    cpu_set_t cores{}; // that this process may use
    int beside = -1;   // the core that the thread keeps off

    // Keeps the thread off the caller's core, where the kernel would wake it; false: there is no other.
    bool keep_off(int core) {
        if (core == beside) {
            return true;
        }
        cpu_set_t others = cores;
        CPU_CLR(core, &others);
        const bool moved = CPU_COUNT(&others) > 0 && pthread_setaffinity_np(thread, sizeof others, &others) == 0;
        beside = moved ? core : -1;
        return moved;
    }

    void serve() {
        std::unique_lock<std::mutex> held(lock);
        for (;;) {
            offered.wait(held, [&] { return ends || job.load() == kOffered; });
            if (ends) {
                return;
            }
            held.unlock();
            int expected = kOffered;
            if (job.compare_exchange_strong(expected, kTaken)) {
                (*run)(gang, 1);
                job.store(kDone, std::memory_order_release);
            }
            held.lock();
        }
    }
};

Helper::~Helper() {
    if (state_ != nullptr && process_ == getpid()) {
        const std::lock_guard<std::mutex> held(state_->lock);
        state_->ends = true;
        state_->offered.notify_one();
    }
}

// Whether the thread was asked: it is free, and there is a core for it.
bool Helper::offer(const Run &run) {
    if (busy_.test_and_set(std::memory_order_acquire)) {
        return false;
    }
    if (state_ != nullptr && process_ != getpid()) {
        new std::shared_ptr<State>(std::move(state_)); // a fork's: its locks may be held by a thread that is not here
    }
    if (state_ == nullptr) {
        state_ = std::make_shared<State>();
        process_ = getpid();
        sched_getaffinity(0, sizeof state_->cores, &state_->cores);
        std::thread thread([state = state_] { state->serve(); });
        state_->thread = thread.native_handle();
        thread.detach();
    }
    if (!state_->keep_off(sched_getcpu())) {
        busy_.clear(std::memory_order_release);
        return false;
    }
    {
        const std::lock_guard<std::mutex> held(state_->lock);
        state_->run = &run;
        state_->gang.members = 2;
        state_->job.store(kOffered);
    }
    state_->offered.notify_one();
    return true;
}

// Returns when the thread does nothing any more of what it was asked.
void Helper::take_back() {
    int expected = kOffered;
    if (!state_->job.compare_exchange_strong(expected, kNone)) {
        for (int times = 0; state_->job.load(std::memory_order_acquire) != kDone; ++times) {
            pause_a_little(times);
        }
        state_->job.store(kNone);
    }
    busy_.clear(std::memory_order_release);
}

void Helper::run(const Run &run) {
    Gang alone;
    if (!offer(run)) {
        run(alone, 0);
        return;
    }
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (state_->job.load(std::memory_order_acquire) == kOffered && std::chrono::steady_clock::now() < end) {
        pause_a_little(0);
    }
    int expected = kOffered;
    if (state_->job.compare_exchange_strong(expected, kNone)) { // nobody took it
        busy_.clear(std::memory_order_release);
        run(alone, 0);
        return;
    }
    run(state_->gang, 0);
    take_back();
}

void Helper::share(const std::function<void()> &work) {
    const Run run = [&work](Gang &, int) { work(); };
    const bool asked = offer(run);
    work();
    if (asked) {
        take_back();
    }
}

} // namespace trident
