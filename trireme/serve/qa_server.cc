#include "trireme/serve/qa_server.h"

#include <csignal>
#include <utility>

#include "trireme/serve/beast.h"

namespace trireme::serve {

namespace {

constexpr std::chrono::milliseconds kLastWrites{
    500};  // for answers given at the very end of the drain

}  // namespace

class QaServer::Impl {
 public:
  Impl(const QaServerOptions& options, QaService::Loader loader)
      : drain_(options.drain), service_(options.service), http_(options.http, routes()) {
    signals_.async_wait([this](error_code ec, int) {
      if (!ec) events_.stop();
    });
    service_.start(std::move(loader), [this](std::exception_ptr failure) {
      asio::post(events_, [this, failure] { loaded(failure); });
    });
  }

  const HttpServer& http() const { return http_; }

  bool run(const std::function<void()>& ready) {
    ready_ = ready;
    events_.run();
    error_code ignored;
    signals_.clear(ignored);  // a second signal kills
    if (failure_) std::rethrow_exception(failure_);

    const auto deadline = std::chrono::steady_clock::now() + drain_;
    service_.begin_drain();
    const bool answered = service_.wait_idle(deadline);
    if (!answered) service_.abandon();
    const auto left = deadline - std::chrono::steady_clock::now();
    const bool written = http_.stop(
        std::max(kLastWrites, std::chrono::duration_cast<std::chrono::milliseconds>(left)));
    return answered && written;
  }

  void request_stop() { events_.stop(); }

 private:
  const Router& routes() {
    service_.add_routes(router_);
    return router_;
  }

  void loaded(const std::exception_ptr& failure) {
    failure_ = failure;
    if (failure) {
      events_.stop();
    } else if (ready_) {
      ready_();
    }
  }

  const std::chrono::milliseconds drain_;
  asio::io_context events_;
  asio::executor_work_guard<asio::io_context::executor_type> work_{events_.get_executor()};
  asio::signal_set signals_{events_, SIGINT, SIGTERM};
  std::function<void()> ready_;
  std::exception_ptr failure_;
  Router router_;
  QaService service_;
  HttpServer http_;  // ends before the service and the routes that it calls
};

QaServer::QaServer(const QaServerOptions& options, QaService::Loader loader)
    : impl_(std::make_unique<Impl>(options, std::move(loader))) {}
QaServer::~QaServer() = default;

uint16_t QaServer::port() const {
  return impl_->http().port();
}
std::string QaServer::url() const {
  return impl_->http().url();
}
bool QaServer::run(const std::function<void()>& ready) {
  return impl_->run(ready);
}
void QaServer::request_stop() {
  impl_->request_stop();
}

}  // namespace trireme::serve
