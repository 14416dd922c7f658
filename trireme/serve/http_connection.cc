#include "trireme/serve/http_connection.h"

#include <array>
#include <ctime>
#include <utility>

#include "trireme/base/error.h"

namespace trireme::serve {
namespace {

using namespace std::chrono_literals;

constexpr size_t kReadBytes = 4096;
constexpr size_t kReadAheadBytes = 16 * 1024;  // pipelined requests taken in while one is answered
constexpr size_t kParseBytes = 64 * 1024;      // Beast's largest read, on top of the header
constexpr size_t kLingerBytes = 64 * 1024 * 1024;
constexpr auto kLinger = 1000ms;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  const size_t size = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), size};
}

Request to_request(beast_http::request<beast_http::string_body>&& message) {
  Request request;
  request.method = std::string(message.method_string());
  std::string target(message.target());
  if (const size_t scheme = target.find("://"); scheme != std::string::npos && target[0] != '/') {
    const size_t path = target.find('/', scheme + 3);  // absolute form, as sent to proxies
    target = path == std::string::npos ? "/" : target.substr(path);
  }
  const size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string::npos) request.query = target.substr(mark + 1);
  for (const auto& field : message) {
    request.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
  }
  request.body = std::move(message.body());
  return request;
}

}  // namespace

Connection::Connection(Tcp::socket socket, ServerState& state)
    : socket_(std::move(socket)),
      state_(state),
      buffer_(state.options.max_header_bytes + kParseBytes),
      deadline_(socket_.get_executor()),
      wake_(socket_.get_executor()) {}

asio::awaitable<void> Connection::serve() {
  bool more = true;
  while (more) more = co_await serve_one();
  if (!gone_) co_await linger();
}

asio::awaitable<void> Connection::refuse(Response response) {
  keep_alive_ = false;
  co_await write(std::move(response), false);
  if (!gone_) co_await linger();
}

void Connection::close_if_idle() {
  error_code ignored;
  if (idle_) socket_.cancel(ignored);
}

void Connection::abort() {
  gone_ = true;
  error_code ignored;
  socket_.close(ignored);
  wake_.cancel();
}

asio::awaitable<bool> Connection::serve_one() {
  const bool begun = co_await wait_for_request();
  if (!begun) co_return false;
  Parser parser;
  parser.header_limit(state_.options.max_header_bytes);
  parser.body_limit(state_.options.max_body_bytes);
  keep_alive_ = false;
  version_ = 11;
  std::optional<Response> refusal = co_await read_request(parser);
  if (refusal) {
    co_await write(std::move(*refusal), false);
    co_return false;
  }
  if (gone_) co_return false;
  keep_alive_ = parser.get().keep_alive();
  version_ = parser.get().version();
  const bool head = parser.get().method() == beast_http::verb::head;
  std::optional<Response> response = co_await answer(to_request(parser.release()));
  if (!response) co_return false;
  co_await write(std::move(*response), head);
  co_return keep_alive_ && !gone_;
}

// A request's first byte is here, or the connection ends.
asio::awaitable<bool> Connection::wait_for_request() {
  if (buffer_.size() > 0) co_return true;
  gone_ = state_.stopping;
  if (gone_) co_return false;
  idle_ = true;
  begin_deadline(state_.options.idle_timeout);
  auto [ec, size] = co_await socket_.async_read_some(buffer_.prepare(kReadBytes), kAwait);
  end_deadline();
  idle_ = false;
  if (ec) gone_ = true;  // left, or idle for too long: nothing to say, nothing unread
  if (gone_) co_return false;
  buffer_.commit(size);
  co_return true;
}

asio::awaitable<std::optional<Response>> Connection::read_request(Parser& parser) {
  begin_deadline(state_.options.header_timeout);
  auto [header_ec, header_size] =
      co_await beast_http::async_read_header(socket_, buffer_, parser, kAwait);
  end_deadline();
  if (header_ec) co_return read_failure(header_ec, state_.options.header_timeout);
  std::optional<Response> refusal = check_header(parser);
  if (refusal) co_return refusal;
  if (parser.is_done()) co_return std::nullopt;

  begin_deadline(state_.options.body_timeout);
  error_code ec;
  if (parser.get().find(beast_http::field::expect) != parser.get().end()) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    auto [write_ec, size] = co_await asio::async_write(socket_, asio::buffer(kContinue), kAwait);
    ec = write_ec;
  }
  if (!ec) {
    auto [body_ec, size] = co_await beast_http::async_read(socket_, buffer_, parser, kAwait);
    ec = body_ec;
  }
  end_deadline();
  if (ec) co_return read_failure(ec, state_.options.body_timeout);
  co_return std::nullopt;
}

std::optional<Response> Connection::check_header(const Parser& parser) const {
  const auto& message = parser.get();
  using beast_http::field;
  if (message.version() >= 11 && message.find(field::host) == message.end()) {
    return error_response(400, "the request has no Host header");
  }
  if (const auto expect = message[field::expect];
      !expect.empty() && !boost::beast::iequals(expect, "100-continue")) {
    return error_response(417, "Expect takes 100-continue only");
  }
  if (const auto encoding = message[field::content_encoding];
      !encoding.empty() && !boost::beast::iequals(encoding, "identity")) {
    return error_response(415, cat("Content-Encoding ", std::string(encoding),
                                   " is not taken; send the body as it is"));
  }
  return std::nullopt;
}

// The answer to a request that could not be read; nothing when there is no one to answer.
std::optional<Response> Connection::read_failure(error_code ec, Milliseconds limit) {
  using beast_http::error;
  if (timed_out_) {
    return error_response(408, cat("the request did not come within ", limit.count(), " ms"));
  }
  if (ec == error::header_limit || ec == error::buffer_overflow) {
    return error_response(431, cat("the header is larger than the limit of ",
                                   state_.options.max_header_bytes, " bytes"));
  }
  if (ec == error::body_limit) {
    return error_response(
        413, cat("the body is larger than the limit of ", state_.options.max_body_bytes, " bytes"));
  }
  const bool ended = ec == error::end_of_stream || ec == error::partial_message;
  if (!ended && ec.category() == make_error_code(error::bad_method).category()) {
    return error_response(400, cat("not an HTTP request: ", ec.message()));
  }
  gone_ = true;
  return std::nullopt;
}

asio::awaitable<std::optional<Response>> Connection::answer(Request request) {
  const auto exchange = std::make_shared<Exchange>();
  state_.router.dispatch(std::move(request), exchange);
  const bool pending = exchange->arm([this] {
    // On the answering thread. disarm() below ends this function's life before the connection's.
    asio::post(socket_.get_executor(), [self = shared_from_this()] { self->wake_.cancel(); });
  });
  may_watch_ = pending;
  watch();
  const auto limit = state_.options.answer_timeout;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::optional<Response> response = exchange->take_response();
  while (!response && !gone_) {
    wake_.expires_at(deadline);
    auto [ec] = co_await wake_.async_wait(kAwait);
    response = exchange->take_response();
    if (!ec && !response) {
      response = error_response(504, cat("no answer within ", limit.count(), " ms"));
    }
  }
  exchange->disarm();
  // Cancelling ends a read that waits for input; one whose handler is already due succeeds, and
  // must not be followed by another.
  may_watch_ = false;
  error_code ignored;
  if (watching_) socket_.cancel(ignored);
  while (watching_) {
    wake_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await wake_.async_wait(kAwait);
  }
  if (gone_) co_return std::nullopt;
  co_return response;
}

void Connection::watch() {
  watching_ = may_watch_ && buffer_.size() < kReadAheadBytes;
  if (!watching_) {
    wake_.cancel();
    return;
  }
  socket_.async_read_some(buffer_.prepare(kReadBytes),
                          [self = shared_from_this()](error_code ec, size_t size) {
                            self->buffer_.commit(size);
                            if (ec) self->may_watch_ = false;
                            if (ec && ec != asio::error::operation_aborted) self->gone_ = true;
                            self->watch();
                          });
}

asio::awaitable<void> Connection::write(Response response, bool head) {
  if (response.close || state_.stopping) keep_alive_ = false;
  beast_http::response<beast_http::string_body> message;
  message.version(version_);
  message.result(static_cast<unsigned>(response.status));
  message.set(beast_http::field::date, http_date());
  message.set(beast_http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) message.insert(name, value);
  message.content_length(response.body.size());
  message.keep_alive(keep_alive_);
  if (!head) message.body() = std::move(response.body);

  begin_deadline(state_.options.write_timeout);
  auto [ec, size] = co_await beast_http::async_write(socket_, message, kAwait);
  end_deadline();
  if (ec) gone_ = true;
}

// Ends our side, and reads what the client still sends: closing a socket with unread input resets
// the connection, and the client may then lose our answer.
asio::awaitable<void> Connection::linger() {
  error_code ec;
  socket_.shutdown(Tcp::socket::shutdown_send, ec);
  if (ec) co_return;
  std::array<char, kReadBytes> scrap;
  begin_deadline(kLinger);
  size_t total = 0;
  while (!ec && !timed_out_ && total < kLingerBytes) {
    auto [read_ec, size] = co_await socket_.async_read_some(asio::buffer(scrap), kAwait);
    ec = read_ec;
    total += size;
  }
  end_deadline();
}

void Connection::begin_deadline(Milliseconds limit) {
  timed_out_ = false;
  deadline_.expires_after(limit);
  arm_deadline();
}

void Connection::arm_deadline() {
  deadline_.async_wait([self = shared_from_this(), id = deadline_id_](error_code ec) {
    if (ec || id != self->deadline_id_) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
    // Again, in case the operation was just between two reads.
    self->deadline_.expires_after(50ms);
    self->arm_deadline();
  });
}

void Connection::end_deadline() {
  ++deadline_id_;
  deadline_.cancel();
}

}  // namespace trireme::serve
