// An HTTP/1.1 server: keep-alive and pipelined requests, limits on everything that a client
// controls, answers from any thread, a graceful stop.
//
//   HttpServer server({.port = 8080}, router);        // bound and listening, or an input error
//   ...
//   server.stop(std::chrono::seconds(10));
//
// One I/O thread serves all connections (a coroutine each), so a slow client costs memory, never a
// thread. How a request may end besides its handler's answer: 400 not HTTP, 408 too slow, 413 body
// too large, 415 encoded body, 417 unknown expectation, 431 header too large, 503 too many
// connections, 504 the handler took too long; all with {"error": ...}. A client that reads its
// answer too slowly is cut off.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "trireme/serve/http.h"

namespace trireme::serve {

struct HttpOptions {
  using Milliseconds = std::chrono::milliseconds;
  std::string host = "127.0.0.1";
  uint16_t port = 8080;  // 0: any free port
  size_t max_connections = 1024;
  uint32_t max_header_bytes = 16 * 1024;
  size_t max_body_bytes = 4 * 1024 * 1024;
  Milliseconds idle_timeout{60'000};     // without a request on an open connection
  Milliseconds header_timeout{10'000};   // from a request's first byte to the end of its header
  Milliseconds body_timeout{30'000};     // for the body
  Milliseconds answer_timeout{120'000};  // for the handler
  Milliseconds write_timeout{30'000};    // for the client to take the answer
};

class HttpServer {
 public:
  // Binds, listens and starts serving. `router` must outlive the server. Throws an input error when
  // the address cannot be had (it names host and port), or when a limit is zero.
  HttpServer(const HttpOptions& options, const Router& router);
  ~HttpServer();  // stop(0)

  uint16_t port() const;
  std::string url() const;     // http://host:port
  size_t connections() const;  // open now

  // Accepts no more connections, closes idle ones, lets the requests that have begun finish for up
  // to `grace`, cuts off the rest, ends the thread. Returns whether all finished. Not from a
  // handler.
  bool stop(std::chrono::milliseconds grace);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::serve
