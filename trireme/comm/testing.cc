#include "trireme/comm/testing.h"

#include <exception>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <vector>

namespace trireme::comm {

void run_ranks(int n, const std::function<void(World&)>& f, const WorldOptions& options) {
  if (n == 1) {
    f(*World::single());
    return;
  }
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::mutex mutex;
  std::exception_ptr first;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        RankEnv env;
        env.rank = env.local_rank = rank;
        env.size = env.local_size = n;
        env.local_known = true;
        const auto world = World::join(store, env, options);
        try {
          f(*world);
        } catch (...) {
          // Taken down before the world goes: its end makes the others fail too.
          const std::lock_guard lock(mutex);
          first = first ? first : std::current_exception();
          throw;
        }
      } catch (...) {
        const std::lock_guard lock(mutex);
        first = first ? first : std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (first) {
    std::rethrow_exception(first);
  }
}

}  // namespace trireme::comm
