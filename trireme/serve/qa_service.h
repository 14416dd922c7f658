// POST /v1/qa, /v2, /v2/health/live and /v2/health/ready over a QaEngine.
//
// One thread loads the engine and runs it. Requests wait in a bounded queue; whatever waits when
// the engine is free goes to it as one batch, up to a budget. So an idle engine starts at once, and
// a busy one gathers.
//   - A full queue answers 429 with Retry-After, alike for one query and for a list.
//   - A request whose client has gone before its turn is dropped.
//   - Ready means: loaded, not draining, and the engine moves (a batch ended within stall_timeout,
//     or none is waiting).
//   - A list longer than a batch is answered over several batches.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "trireme/serve/http.h"
#include "trireme/serve/qa_engine.h"
#include "trireme/serve/qa_request.h"

namespace trireme::serve {

struct QaServiceOptions {
  using Milliseconds = std::chrono::milliseconds;
  std::string name = "trireme";  // of GET /v2
  std::string version;
  QaLimits limits;
  size_t max_queue_items = 256;              // queries waiting; at least limits.max_items
  size_t max_queue_chars = 8 * 1024 * 1024;  // their code points
  size_t batch_items = 32;                   // a batch's budget; one query may exceed the second
  size_t batch_chars = 64 * 1024;
  Milliseconds stall_timeout{30'000};  // a batch that takes longer makes the service unready
  Milliseconds drain_admit{
      200};  // requests that come so soon after the drain began were on their way: still taken
};

class QaService {
 public:
  using Loader = std::function<std::unique_ptr<QaEngine>()>;

  // Throws an input error when the options contradict each other.
  explicit QaService(QaServiceOptions options);
  ~QaService();  // waits for the engine's current batch, answers 503 to what is left

  // Loads and runs the engine on a thread of its own. `loaded` is called there, once: with nothing,
  // or with what the loader threw.
  void start(Loader loader, std::function<void(std::exception_ptr)> loaded = {});

  void add_routes(Router& router);

  // Why the service is not ready; empty when it is.
  std::string unready_reason() const;

  // From now on unready; after drain_admit, new requests are answered 503.
  void begin_drain();
  // Waits until every request is answered. For a drain: also until drain_admit has passed.
  bool wait_idle(std::chrono::steady_clock::time_point deadline);
  // Answers 503 to every request still unanswered.
  void abandon();

 private:
  using Steady = std::chrono::steady_clock;

  struct Job {
    QaRequest request;
    Responder responder;
    std::vector<QaAnswer> answers;  // one a query, filled by batch
    size_t taken = 0;               // queries given to the engine
    size_t answered = 0;
    bool failed = false;  // the engine threw
  };
  struct Item {
    std::shared_ptr<Job> job;
    size_t index;
  };

  void handle_qa(const Request& request, Responder& responder);
  std::optional<Response> admit(QaRequest request, Responder& responder);  // a response: refused
  bool full_for(const QaRequest& request) const;
  int retry_after_s() const;

  void run(const Loader& loader, const std::function<void(std::exception_ptr)>& loaded);
  std::vector<Item> next_batch();  // empty: stop
  void drop_gone();
  void answer(std::vector<Item>& batch);
  void answer_alone(Item& item);
  void finish(const std::vector<Item>& batch);
  static Response response_of(const Job& job);

  const QaServiceOptions options_;
  std::unique_ptr<QaEngine> engine_;  // the engine thread's

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool loaded_ = false;
  bool failed_ = false;
  bool draining_ = false;
  bool stopping_ = false;
  bool busy_ = false;  // a batch is in the engine
  Steady::time_point drain_began_;
  Steady::time_point progress_;             // a batch ended, or work came when there was none
  double item_seconds_ = 0.05;              // running mean of the engine's time a query
  std::deque<std::shared_ptr<Job>> queue_;  // not yet wholly taken
  size_t queued_items_ = 0;
  size_t queued_chars_ = 0;
  std::unordered_set<std::shared_ptr<Job>>
      unanswered_;  // every job from its admission to its answer
  std::thread thread_;
};

}  // namespace trireme::serve
