#include "trireme/serve/http_client.h"

#include <utility>

#include "trireme/base/error.h"
#include "trireme/serve/beast.h"

namespace trireme::serve {

class HttpClient::Impl {
 public:
  Impl(std::string host, uint16_t port, std::chrono::milliseconds timeout)
      : host_(std::move(host)), port_(port), timeout_(timeout) {}

  HttpResult request(const std::string& method, const std::string& path, const std::string& body,
                     const Headers& headers) {
    beast_http::request<beast_http::string_body> message;
    message.version(11);
    message.method_string(method);
    message.target(path);
    message.set(beast_http::field::host, cat(host_, ":", port_));
    for (const auto& [name, value] : headers) message.set(name, value);
    message.body() = body;
    message.prepare_payload();

    deadline_ = std::chrono::steady_clock::now() + timeout_;
    const bool reused = socket_.is_open();
    Parser parser;
    parser.body_limit(boost::none);
    parser.skip(method == "HEAD");
    error_code ec = reused ? error_code() : connect();
    if (!ec) ec = exchange(message, parser);
    if (ec && reused && !timed_out_ && !parser.got_some()) {
      // The server closed the idle connection in the meantime.
      close();
      ec = connect();
      if (!ec) ec = exchange(message, parser);
    }
    if (ec) {
      close();
      const std::string why =
          timed_out_ ? cat("no answer within ", timeout_.count(), " ms") : ec.message();
      throw run_error("http://", host_, ":", port_, path, ": ", why);
    }
    HttpResult result;
    auto answer = parser.release();
    if (!answer.keep_alive()) close();
    result.status = static_cast<int>(answer.result_int());
    for (const auto& field : answer) {
      result.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
    }
    result.body = std::move(answer.body());
    return result;
  }

 private:
  using Parser = beast_http::response_parser<beast_http::string_body>;

  // Runs what was just begun to its end, or to the deadline.
  void run() {
    io_.restart();
    io_.run_until(deadline_);
    timed_out_ = !io_.stopped();
    if (timed_out_) {
      close();
      io_.run();
    }
  }

  error_code connect() {
    error_code result;
    buffer_.clear();
    Tcp::resolver resolver(io_);
    const auto found = resolver.resolve(host_, std::to_string(port_), result);
    if (result) return result;
    asio::async_connect(socket_, found, [&](error_code ec, const Tcp::endpoint&) { result = ec; });
    run();
    if (!result) socket_.set_option(Tcp::no_delay(true), result);
    return result;
  }

  error_code exchange(const beast_http::request<beast_http::string_body>& message, Parser& parser) {
    error_code result;
    beast_http::async_write(socket_, message, [&](error_code ec, size_t) {
      // An answer may come before the body is through (413): read it even when the write failed.
      beast_http::async_read(socket_, buffer_, parser,
                             [&, write_ec = ec](error_code read_ec, size_t) {
                               result = read_ec && write_ec ? write_ec : read_ec;
                             });
    });
    run();
    return result;
  }

  void close() {
    error_code ignored;
    socket_.close(ignored);
  }

  const std::string host_;
  const uint16_t port_;
  const std::chrono::milliseconds timeout_;
  asio::io_context io_;
  Tcp::socket socket_{io_};
  flat_buffer buffer_;
  std::chrono::steady_clock::time_point deadline_;
  bool timed_out_ = false;
};

HttpClient::HttpClient(std::string host, uint16_t port, std::chrono::milliseconds timeout)
    : impl_(std::make_unique<Impl>(std::move(host), port, timeout)) {}
HttpClient::~HttpClient() = default;

HttpResult HttpClient::get(const std::string& path) {
  return impl_->request("GET", path, "", {});
}

HttpResult HttpClient::post(const std::string& path, const std::string& json_body) {
  return impl_->request("POST", path, json_body, {{"Content-Type", "application/json"}});
}

HttpResult HttpClient::request(const std::string& method, const std::string& path,
                               const std::string& body, const Headers& headers) {
  return impl_->request(method, path, body, headers);
}

}  // namespace trireme::serve
