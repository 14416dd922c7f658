#include "trireme/serve/http_server.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/log.h"
#include "trireme/serve/beast.h"
#include "trireme/serve/http_connection.h"

namespace trireme::serve {
namespace {

using namespace std::chrono_literals;

constexpr size_t kRefusals =
    64;  // connections over the limit that are told so at a time; more are just closed
constexpr auto kAcceptPause = 100ms;

void check(const HttpOptions& options) {
  const auto positive = [](bool ok, const char* name) {
    if (!ok) throw input_error("serve: ", name, " must be greater than 0");
  };
  positive(options.max_connections > 0, "max_connections");
  positive(options.max_header_bytes > 0, "max_header_bytes");
  positive(options.max_body_bytes > 0, "max_body_bytes");
  positive(options.idle_timeout > 0ms, "idle_timeout");
  positive(options.header_timeout > 0ms, "header_timeout");
  positive(options.body_timeout > 0ms, "body_timeout");
  positive(options.answer_timeout > 0ms, "answer_timeout");
  positive(options.write_timeout > 0ms, "write_timeout");
}

// A listening socket, or an input error.
Tcp::acceptor listen(asio::io_context& io, const HttpOptions& options) {
  error_code ec;
  Tcp::resolver resolver(io);
  const auto found =
      resolver.resolve(options.host, std::to_string(options.port), Tcp::resolver::passive, ec);
  if (ec || found.empty()) {
    throw input_error("serve: no address for host '", options.host,
                      "'; give a name or address of this machine");
  }
  const Tcp::endpoint endpoint = found.begin()->endpoint();
  Tcp::acceptor acceptor(io);
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(Tcp::acceptor::reuse_address(true), ec);
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec == asio::error::address_in_use) {
    throw input_error(
        "serve: port ", options.port, " on ", options.host,
        " is in use; stop the program that holds it, or give another port (0: any free one)");
  }
  if (ec) {
    throw input_error("serve: cannot listen on port ", options.port, " of ", options.host, ": ",
                      ec.message());
  }
  return acceptor;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpOptions& options, const Router& router)
      : state_{options, router, false, {}},
        acceptor_(listen(io_, options)),
        port_(acceptor_.local_endpoint().port()) {
    asio::co_spawn(io_, accept(), asio::detached);
    thread_ = std::thread([this] { run(); });
  }

  uint16_t port() const { return port_; }

  std::string url() const {
    const std::string& host = state_.options.host;
    const bool v6 = host.find(':') != std::string::npos;
    return cat("http://", v6 ? "[" : "", host, v6 ? "]" : "", ":", port_);
  }

  size_t connections() const {
    std::lock_guard lock(mutex_);
    return open_;
  }

  bool stop(std::chrono::milliseconds grace) {
    if (!thread_.joinable()) return true;
    asio::post(io_, [this] {
      state_.stopping = true;
      error_code ignored;
      acceptor_.close(ignored);
      for (const auto& connection : state_.open) connection->close_if_idle();
    });
    bool finished = false;
    {
      std::unique_lock lock(mutex_);
      finished = closed_.wait_for(lock, grace, [this] { return open_ == 0; });
    }
    asio::post(io_, [this] {
      for (const auto& connection : state_.open) connection->abort();
      work_.reset();
    });
    thread_.join();
    return finished;
  }

 private:
  // Returns when stop() has dropped work_ and the last connection has ended.
  void run() {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& error) {
        log_error(cat("serve: ", error.what()));
      }
    }
  }

  asio::awaitable<void> accept() {
    asio::steady_timer pause(io_);
    while (acceptor_.is_open()) {
      auto [ec, socket] = co_await acceptor_.async_accept(kAwait);
      if (!ec) {
        take(std::move(socket));
      } else if (acceptor_.is_open() && ec != asio::error::connection_aborted) {
        log_warn(cat("serve: cannot accept a connection: ", ec.message()));
        pause.expires_after(kAcceptPause);
        co_await pause.async_wait(kAwait);
      }
    }
  }

  void take(Tcp::socket socket) {
    const size_t limit = state_.options.max_connections;
    if (state_.open.size() >= limit + kRefusals) return;
    const bool refused = state_.open.size() >= limit;
    error_code ignored;
    socket.set_option(Tcp::no_delay(true), ignored);
    auto connection = std::make_shared<Connection>(std::move(socket), state_);
    state_.open.insert(connection);
    count();
    const auto ended = [this, connection](const std::exception_ptr& exception) {
      report(exception);
      state_.open.erase(connection);
      count();
    };
    if (refused) {
      Response response =
          error_response(503, cat("all ", limit, " connections are taken; try again"));
      response.headers.emplace_back("Retry-After", "1");
      asio::co_spawn(io_, connection->refuse(std::move(response)), ended);
    } else {
      asio::co_spawn(io_, connection->serve(), ended);
    }
  }

  static void report(const std::exception_ptr& exception) {
    if (!exception) return;
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& error) {
      log_error(cat("serve: a connection ended by ", error.what()));
    }
  }

  void count() {
    std::lock_guard lock(mutex_);
    open_ = state_.open.size();
    closed_.notify_all();
  }

  // state_.open outlives io_ (declared before it): handlers that io_ still holds refer to it.
  ServerState state_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  Tcp::acceptor acceptor_;
  const uint16_t port_;
  mutable std::mutex mutex_;
  std::condition_variable closed_;
  size_t open_ = 0;
  std::thread thread_;
};

HttpServer::HttpServer(const HttpOptions& options, const Router& router) {
  check(options);
  impl_ = std::make_unique<Impl>(options, router);
}

HttpServer::~HttpServer() {
  stop(std::chrono::milliseconds(0));
}

uint16_t HttpServer::port() const {
  return impl_->port();
}
std::string HttpServer::url() const {
  return impl_->url();
}
size_t HttpServer::connections() const {
  return impl_->connections();
}
bool HttpServer::stop(std::chrono::milliseconds grace) {
  return impl_->stop(grace);
}

}  // namespace trireme::serve
