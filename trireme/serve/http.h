// The HTTP vocabulary of the server, free of any networking library: Request, Response, Responder,
// Router.
//
//   Router router;
//   router.add("GET", "/v2", [](const Request&, Responder& responder) {
//     responder.send(json_response(200, {{"name", "trireme"}}));
//   });
//
// A handler runs on the server's I/O thread and must not block it: it answers at once, or moves the
// Responder away to be answered later, from any thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trireme/base/json.h"

namespace trireme::serve {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method;  // upper case; HEAD reaches a handler as GET
  std::string path;    // without the query, not percent-decoded
  std::string query;   // behind '?', without it
  Headers headers;
  std::string body;
};

struct Response {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
  Headers headers;     // besides Content-Type, Content-Length, Connection, Date
  bool close = false;  // close the connection behind this response
};

Response json_response(int status, const Json& body);

// {"error": message}, the form of the Open Inference Protocol; with `field`, {"error": ...,
// "field": field}.
Response error_response(int status, const std::string& message, const std::string& field = "");

// What one request and its answer share between the connection and whoever answers. All methods may
// be called from any thread. The connection arms it with a function that wakes it, and disarms it
// before it goes away: an answer that comes later is dropped.
class Exchange {
 public:
  // The first answer counts, later ones are dropped.
  void respond(Response response);

  // Has the client gone, or given up waiting? Its work may be dropped.
  bool client_gone() const;
  void set_client_gone();

  // False when the answer is there already (wake will then not be called).
  bool arm(std::function<void()> wake);
  void disarm();
  std::optional<Response> take_response();

 private:
  mutable std::mutex mutex_;
  bool answered_ = false;
  bool gone_ = false;
  std::optional<Response> response_;
  std::function<void()> wake_;
};

// The right to answer one request, from any thread. One that is destroyed unused answers 500: no
// request stays without an answer.
class Responder {
 public:
  explicit Responder(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  Responder(Responder&&) = default;
  Responder& operator=(Responder&&) = default;
  ~Responder();

  void send(Response response);
  bool client_gone() const { return exchange_->client_gone(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

using Handler = std::function<void(const Request&, Responder&)>;

// (method, exact path) -> handler. Filled before the server starts, read-only afterwards.
class Router {
 public:
  void add(const std::string& method, const std::string& path, Handler handler);

  // Calls the handler, or answers 404, or 405 with Allow. HEAD is served by GET's handler. What a
  // handler throws becomes an answer: 400 for an input error, else 500 and a line in the log.
  void dispatch(Request request, const std::shared_ptr<Exchange>& exchange) const;

 private:
  std::map<std::string, std::map<std::string, Handler>, std::less<>> routes_;
};

}  // namespace trireme::serve
