#include "trireme/serve/qa_service.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/log.h"
#include "trireme/base/utf8.h"

namespace trireme::serve {
namespace {

Response unavailable(const std::string& reason, int retry_after_s) {
  Response response = error_response(503, reason);
  response.headers.emplace_back("Retry-After", std::to_string(retry_after_s));
  return response;
}

}  // namespace

QaService::QaService(QaServiceOptions options) : options_(std::move(options)) {
  if (options_.batch_items == 0 || options_.limits.max_items == 0) {
    throw input_error("serve: batch_items and max_items must be greater than 0");
  }
  if (options_.max_queue_items < options_.limits.max_items) {
    throw input_error("serve: max_queue_items (", options_.max_queue_items,
                      ") is less than max_items (", options_.limits.max_items,
                      "): the longest list would never be taken");
  }
  if (options_.max_queue_chars <
      options_.limits.max_context_chars + options_.limits.max_question_chars) {
    throw input_error("serve: max_queue_chars (", options_.max_queue_chars,
                      ") is less than one query may have: the longest would never be taken");
  }
}

QaService::~QaService() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
  abandon();
}

void QaService::start(Loader loader, std::function<void(std::exception_ptr)> loaded) {
  thread_ = std::thread(
      [this, loader = std::move(loader), loaded = std::move(loaded)] { run(loader, loaded); });
}

void QaService::add_routes(Router& router) {
  router.add("POST", "/v1/qa", [this](const Request& request, Responder& responder) {
    handle_qa(request, responder);
  });
  router.add("GET", "/v2", [this](const Request&, Responder& responder) {
    responder.send(json_response(
        200,
        {{"name", options_.name}, {"version", options_.version}, {"extensions", Json::array()}}));
  });
  router.add("GET", "/v2/health/live", [](const Request&, Responder& responder) {
    responder.send(json_response(200, {{"live", true}}));
  });
  router.add("GET", "/v2/health/ready", [this](const Request&, Responder& responder) {
    const std::string reason = unready_reason();
    if (reason.empty()) {
      responder.send(json_response(200, {{"ready", true}}));
    } else {
      responder.send(json_response(503, {{"ready", false}, {"error", reason}}));
    }
  });
}

std::string QaService::unready_reason() const {
  std::lock_guard lock(mutex_);
  if (draining_) return "the server is shutting down";
  if (failed_) return "the model could not be loaded";
  if (!loaded_) return "the model is being loaded";
  const bool work = busy_ || !queue_.empty();
  const auto still = Steady::now() - progress_;
  if (work && still > options_.stall_timeout) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(still).count();
    return cat("the model has not finished its batch for ", seconds, " s");
  }
  return "";
}

void QaService::handle_qa(const Request& request, Responder& responder) {
  try {
    std::optional<Response> refusal =
        admit(parse_qa_request(request.body, options_.limits), responder);
    if (refusal) responder.send(std::move(*refusal));
  } catch (const QaRequestError& error) {
    responder.send(error_response(error.status(), error.what(), error.field()));
  }
}

std::optional<Response> QaService::admit(QaRequest request, Responder& responder) {
  std::lock_guard lock(mutex_);
  if (draining_ && Steady::now() > drain_began_ + options_.drain_admit) {
    Response response = unavailable("the server is shutting down", 1);
    response.close = true;
    return response;
  }
  if (!loaded_) return unavailable("the model is being loaded", 1);
  if (request.chars > options_.max_queue_chars) {
    return error_response(413, cat("the request has ", request.chars, " characters; the limit is ",
                                   options_.max_queue_chars));
  }
  if (full_for(request)) drop_gone();
  if (full_for(request)) {
    Response response =
        error_response(429, cat("the queue is full (", queued_items_, " of ",
                                options_.max_queue_items, " queries wait); try again"));
    response.headers.emplace_back("Retry-After", std::to_string(retry_after_s()));
    return response;
  }
  if (queue_.empty() && !busy_) progress_ = Steady::now();
  queued_items_ += request.queries.size();
  queued_chars_ += request.chars;
  auto job = std::make_shared<Job>(Job{std::move(request), std::move(responder), {}});
  job->answers.resize(job->request.queries.size());
  queue_.push_back(job);
  unanswered_.insert(std::move(job));
  changed_.notify_all();
  return std::nullopt;
}

bool QaService::full_for(const QaRequest& request) const {
  return queued_items_ + request.queries.size() > options_.max_queue_items ||
         queued_chars_ + request.chars > options_.max_queue_chars;
}

// The time that the queue takes, by the engine's pace so far.
int QaService::retry_after_s() const {
  const double seconds = std::ceil(static_cast<double>(queued_items_) * item_seconds_);
  return static_cast<int>(std::clamp(seconds, 1.0, 60.0));
}

void QaService::begin_drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
  drain_began_ = Steady::now();
}

bool QaService::wait_idle(Steady::time_point deadline) {
  std::unique_lock lock(mutex_);
  if (draining_) {
    const auto admitted = std::min(drain_began_ + options_.drain_admit, deadline);
    changed_.wait_until(lock, admitted, [&] { return Steady::now() >= admitted; });
  }
  return changed_.wait_until(lock, deadline, [this] { return unanswered_.empty(); });
}

void QaService::abandon() {
  std::lock_guard lock(mutex_);
  for (const auto& job : unanswered_) {
    job->responder.send(unavailable("the server is shutting down", 1));
  }
  unanswered_.clear();
  queue_.clear();
  queued_items_ = 0;
  queued_chars_ = 0;
  changed_.notify_all();
}

// ---- the engine thread ----

void QaService::run(const Loader& loader, const std::function<void(std::exception_ptr)>& loaded) {
  std::exception_ptr failure;
  try {
    engine_ = loader();
  } catch (...) {
    failure = std::current_exception();
  }
  {
    std::lock_guard lock(mutex_);
    loaded_ = !failure;
    failed_ = failure != nullptr;
  }
  if (loaded) loaded(failure);
  if (failure) return;
  for (std::vector<Item> batch = next_batch(); !batch.empty(); batch = next_batch()) {
    const auto began = Steady::now();
    answer(batch);
    const std::chrono::duration<double> took = Steady::now() - began;
    {
      std::lock_guard lock(mutex_);
      item_seconds_ += 0.1 * (took.count() / static_cast<double>(batch.size()) - item_seconds_);
      progress_ = Steady::now();
      busy_ = false;
    }
    finish(batch);
  }
  engine_.reset();
}

// Waits for work; the queue's head, up to the budget, is the batch. Queries of one job may go to
// several batches.
std::vector<QaService::Item> QaService::next_batch() {
  std::unique_lock lock(mutex_);
  std::vector<Item> batch;
  while (batch.empty()) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return {};
    drop_gone();
    size_t chars = 0;
    bool full = false;
    while (!queue_.empty() && !full) {
      const std::shared_ptr<Job>& job = queue_.front();
      const QaQuery& query = job->request.queries[job->taken];
      chars += count_code_points(query.context) + count_code_points(query.question);
      full =
          batch.size() >= options_.batch_items || (!batch.empty() && chars > options_.batch_chars);
      if (full) break;
      batch.push_back({job, job->taken++});
      --queued_items_;
      if (job->taken == job->request.queries.size()) {
        queued_chars_ -= job->request.chars;
        queue_.pop_front();
      }
    }
  }
  busy_ = true;
  return batch;
}

void QaService::drop_gone() {
  std::erase_if(queue_, [this](const std::shared_ptr<Job>& job) {
    if (!job->responder.client_gone()) return false;
    queued_items_ -= job->request.queries.size() - job->taken;
    queued_chars_ -= job->request.chars;
    unanswered_.erase(job);
    return true;
  });
  if (unanswered_.empty()) changed_.notify_all();
}

void QaService::answer(std::vector<Item>& batch) {
  std::vector<QaQuery> queries;
  queries.reserve(batch.size());
  for (const Item& item : batch) queries.push_back(item.job->request.queries[item.index]);
  try {
    std::vector<QaAnswer> answers = engine_->answer(queries);
    if (answers.size() != queries.size()) {
      throw run_error("the engine gave ", answers.size(), " answers to ", queries.size(),
                      " queries");
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      batch[i].job->answers[batch[i].index] = std::move(answers[i]);
    }
  } catch (const std::exception&) {
    for (Item& item : batch) answer_alone(item);
  }
}

void QaService::answer_alone(Item& item) {
  QaAnswer& answer = item.job->answers[item.index];
  try {
    std::vector<QaAnswer> answers = engine_->answer({&item.job->request.queries[item.index], 1});
    if (answers.size() != 1)
      throw run_error("the engine gave ", answers.size(), " answers to 1 query");
    answer = std::move(answers[0]);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInput) {
      answer.refusal = error.what();
    } else {
      log_error(cat("serve: a query failed: ", error.what()));
      item.job->failed = true;
    }
  } catch (const std::exception& error) {
    log_error(cat("serve: a query failed: ", error.what()));
    item.job->failed = true;
  }
}

// Answers the jobs that this batch has completed.
void QaService::finish(const std::vector<Item>& batch) {
  for (const Item& item : batch) {
    Job& job = *item.job;
    if (++job.answered < job.answers.size()) continue;
    job.responder.send(response_of(job));
    std::lock_guard lock(mutex_);
    unanswered_.erase(item.job);
    if (unanswered_.empty()) changed_.notify_all();
  }
}

Response QaService::response_of(const Job& job) {
  if (job.failed) return error_response(500, "internal error; the server's log says more");
  const bool list = job.request.list;
  for (size_t i = 0; i < job.answers.size(); ++i) {
    const std::string& refusal = job.answers[i].refusal;
    if (!refusal.empty())
      return error_response(400, list ? cat("query ", i, ": ", refusal) : refusal);
  }
  if (!list) return json_response(200, to_json(job.answers[0]));
  Json answers = Json::array();
  for (const QaAnswer& answer : job.answers) answers.push_back(to_json(answer));
  return json_response(200, {{"answers", std::move(answers)}});
}

}  // namespace trireme::serve
