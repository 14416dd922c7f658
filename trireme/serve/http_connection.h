// One client's connection: a coroutine that reads requests one after another and writes their
// answers in order. Internal to HttpServer. Everything here runs on the server's I/O thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_set>

#include "trireme/serve/beast.h"
#include "trireme/serve/http.h"
#include "trireme/serve/http_server.h"

namespace trireme::serve {

class Connection;

// What the connections of a server have in common.
struct ServerState {
  HttpOptions options;
  const Router& router;
  bool stopping = false;  // answers say Connection: close, idle connections end
  std::unordered_set<std::shared_ptr<Connection>> open;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Tcp::socket socket, ServerState& state);

  asio::awaitable<void> serve();                    // requests, until the connection ends
  asio::awaitable<void> refuse(Response response);  // answers without reading, and ends
  void close_if_idle();
  void abort();  // ends at once; a handler still at work is told that the client has gone

 private:
  using Parser = beast_http::request_parser<beast_http::string_body>;
  using Milliseconds = HttpOptions::Milliseconds;

  asio::awaitable<bool> serve_one();  // false: the connection ends
  asio::awaitable<bool> wait_for_request();
  asio::awaitable<std::optional<Response>> read_request(Parser& parser);  // a response: refused
  asio::awaitable<std::optional<Response>> answer(Request request);  // nothing: the client has gone
  asio::awaitable<void> write(Response response, bool head);
  asio::awaitable<void> linger();

  std::optional<Response> check_header(const Parser& parser) const;
  std::optional<Response> read_failure(error_code ec, Milliseconds limit);

  // From begin to end, an operation on the socket that takes longer is cancelled, and timed_out_
  // set.
  void begin_deadline(Milliseconds limit);
  void end_deadline();
  void arm_deadline();

  // While a handler works: reads ahead, to see the client go, or ends the watch and wakes answer().
  void watch();

  Tcp::socket socket_;
  ServerState& state_;
  flat_buffer buffer_;  // read from the socket, not yet parsed
  asio::steady_timer deadline_;
  unsigned deadline_id_ = 0;
  bool timed_out_ = false;
  asio::steady_timer wake_;  // cancelled when something happened that answer() waits for
  bool may_watch_ = false;   // may watch() begin another read?
  bool watching_ = false;    // one of its reads is under way
  bool idle_ = false;
  bool gone_ = false;        // the client has gone, or abort() was called
  bool keep_alive_ = false;  // of the request at hand
  unsigned version_ = 11;
};

}  // namespace trireme::serve
