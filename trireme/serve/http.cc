#include "trireme/serve/http.h"

#include <algorithm>
#include <cctype>

#include "trireme/base/error.h"
#include "trireme/base/log.h"

namespace trireme::serve {
namespace {

// The exception in flight becomes the answer, unless another came first.
void answer_exception(Exchange& exchange, const std::string& path) {
  try {
    throw;
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInput) {
      exchange.respond(error_response(400, error.what()));
      return;
    }
    log_error(cat("serve: ", path, ": ", error.what()));
  } catch (const std::exception& error) {
    log_error(cat("serve: ", path, ": ", error.what()));
  }
  exchange.respond(error_response(500, "internal error; the server's log says more"));
}

}  // namespace

Response json_response(int status, const Json& body) {
  Response response;
  response.status = status;
  response.body = dump_json(body);
  return response;
}

Response error_response(int status, const std::string& message, const std::string& field) {
  Json body = {{"error", message}};
  if (!field.empty()) body["field"] = field;
  return json_response(status, body);
}

void Exchange::respond(Response response) {
  std::lock_guard lock(mutex_);
  if (answered_) return;
  answered_ = true;
  response_ = std::move(response);
  if (wake_) wake_();
}

bool Exchange::client_gone() const {
  std::lock_guard lock(mutex_);
  return gone_;
}

void Exchange::set_client_gone() {
  std::lock_guard lock(mutex_);
  gone_ = true;
}

bool Exchange::arm(std::function<void()> wake) {
  std::lock_guard lock(mutex_);
  if (response_) return false;
  wake_ = std::move(wake);
  return true;
}

void Exchange::disarm() {
  std::lock_guard lock(mutex_);
  wake_ = nullptr;
  gone_ = true;
}

std::optional<Response> Exchange::take_response() {
  std::lock_guard lock(mutex_);
  return std::exchange(response_, std::nullopt);
}

Responder::~Responder() {
  if (exchange_) {
    exchange_->respond(
        error_response(500, "internal error: the request was dropped without an answer"));
  }
}

void Responder::send(Response response) {
  exchange_->respond(std::move(response));
}

void Router::add(const std::string& method, const std::string& path, Handler handler) {
  if (!routes_[path].emplace(method, std::move(handler)).second) {
    throw run_error("two handlers for ", method, " ", path);
  }
}

void Router::dispatch(Request request, const std::shared_ptr<Exchange>& exchange) const {
  const auto route = routes_.find(request.path);
  if (route == routes_.end()) {
    exchange->respond(error_response(404, cat("no such path: ", request.path)));
    return;
  }
  if (request.method == "HEAD") request.method = "GET";
  const auto& by_method = route->second;
  const auto found = by_method.find(request.method);
  if (found == by_method.end()) {
    std::string allow;
    for (const auto& [method, handler] : by_method) {
      allow += (allow.empty() ? "" : ", ") + method + (method == "GET" ? ", HEAD" : "");
    }
    Response response = error_response(
        405, cat("method ", request.method, " is not for ", request.path, "; it takes ", allow));
    response.headers.emplace_back("Allow", allow);
    exchange->respond(std::move(response));
    return;
  }
  Responder responder(exchange);
  try {
    found->second(request, responder);
  } catch (...) {
    answer_exception(*exchange, request.path);
  }
}

}  // namespace trireme::serve
