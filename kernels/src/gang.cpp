// The thread that helps. See gang.h.
#include "gang.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

namespace trident {
namespace {

constexpr auto kPatience = std::chrono::microseconds(80); // a thread that waits is awake after 20 to 60

constexpr int kLongestRest = 1024;

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
                gang.cores[1].store(sched_getcpu(), std::memory_order_relaxed);
                try {
                    (*run)(gang, 1);
                } catch (...) {
                    gang.broken.store(true);
                }
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
    try {
        if (state_ == nullptr) {
            auto made = std::make_shared<State>();
            sched_getaffinity(0, sizeof made->cores, &made->cores);
            std::thread thread([made] { made->serve(); });
            made->thread = thread.native_handle();
            thread.detach();
            state_ = std::move(made);
            process_ = getpid();
        }
    } catch (const std::exception &) { // no memory, or no more threads allowed
        busy_.clear(std::memory_order_release);
        return false;
    }
    if (!state_->keep_off(sched_getcpu())) {
        busy_.clear(std::memory_order_release);
        return false;
    }
    {
        const std::lock_guard<std::mutex> held(state_->lock);
        state_->run = &run;
        state_->gang.members = 2;
        state_->gang.came.store(0);
        state_->gang.broken.store(false);
        state_->gang.cores[0].store(-1);
        state_->gang.cores[1].store(-1);
        state_->gang.waited = {};
        state_->job.store(kOffered);
    }
    state_->offered.notify_one();
    return true;
}

// Returns when the thread does nothing any more of what it was asked.
void Helper::take_back() {
    int expected = kOffered;
    if (!state_->job.compare_exchange_strong(expected, kNone)) {
        while (state_->job.load(std::memory_order_acquire) != kDone) {
            const int core = sched_getcpu();
            if (state_->gang.cores[1].load(std::memory_order_relaxed) == core) {
                std::this_thread::yield();
            }
            for (int times = 0; times < kPatientPauses; ++times) {
                pause_once();
            }
        }
        state_->job.store(kNone);
    }
    busy_.clear(std::memory_order_release);
}

// Whether both ran it to its end.
bool Helper::shared(const Run &run) {
    if (rests() || !offer(run)) {
        return false;
    }
    const auto start = std::chrono::steady_clock::now();
    while (state_->job.load(std::memory_order_acquire) == kOffered &&
           std::chrono::steady_clock::now() < start + kPatience) {
        pause_once();
    }
    int expected = kOffered;
    if (state_->job.compare_exchange_strong(expected, kNone)) { // nobody took it
        busy_.clear(std::memory_order_release);
        return false;
    }
    const auto taken = std::chrono::steady_clock::now();
    try {
        run(state_->gang, 0);
    } catch (...) { // here or there: what is wrong shows again, or does not matter
        state_->gang.broken.store(true);
        take_back();
        return false;
    }
    const auto all = std::chrono::steady_clock::now() - taken;
    const auto waited = state_->gang.waited;
    take_back();
    rest_after(2 * waited > all);
    return true;
}

// Lets the next calls go on alone where the last one was not worth it.
void Helper::rest_after(bool was_in_vain) {
    const int rest = was_in_vain ? std::min(kLongestRest, std::max(1, 2 * last_rest_.load())) : 0;
    last_rest_.store(rest);
    rest_.store(rest);
}

bool Helper::rests() {
    if (rest_.load(std::memory_order_relaxed) <= 0) {
        return false;
    }
    rest_.fetch_sub(1, std::memory_order_relaxed);
    return true;
}

void Helper::run(const Run &run) {
    if (!shared(run)) {
        Gang alone;
        run(alone, 0);
    }
}

void Helper::share(const std::function<void()> &work) {
    const Run run = [&work](Gang &, int) { work(); };
    const auto start = std::chrono::steady_clock::now();
    const bool asked = !rests() && offer(run);
    work();
    if (asked) {
        const auto done = std::chrono::steady_clock::now();
        take_back();
        rest_after(std::chrono::steady_clock::now() - done > done - start);
    }
}

} // namespace trident
