// The QA server as a program runs it: HTTP front, service, signals, drain.
//
//   QaServer server(options, [&] { return std::make_unique<MyEngine>(...); });   // listening;
//   loads meanwhile std::cout << server.url(); server.run([] { std::cout << "ready"; }); // until
//   SIGTERM or Ctrl-C
//
// SIGTERM, SIGINT: ready turns 503 at once, requests in flight are answered within options.drain,
// run() returns (exit code 0). A second signal kills as usual.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "trireme/serve/http_server.h"
#include "trireme/serve/qa_service.h"

namespace trireme::serve {

struct QaServerOptions {
  HttpOptions http;
  QaServiceOptions service;
  std::chrono::milliseconds drain{30'000};
};

class QaServer {
 public:
  // Binds the port (an input error when it cannot), takes over SIGTERM and SIGINT, starts loading.
  QaServer(const QaServerOptions& options, QaService::Loader loader);
  ~QaServer();

  uint16_t port() const;
  std::string url() const;

  // Serves until a signal or request_stop(), then drains. `ready` is called once the engine is
  // loaded. Throws what the loader threw. Returns false when the drain's bound cut requests off;
  // they were answered 503.
  bool run(const std::function<void()>& ready = {});

  void request_stop();  // from any thread

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trireme::serve
