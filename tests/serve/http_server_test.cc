// The HTTP server over real sockets on loopback.
#include "trireme/serve/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/serve/raw_client.h"
#include "trireme/base/error.h"

namespace trireme::serve {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Time = std::chrono::steady_clock;

// Responders put aside by GET /later, until the test answers them.
class Held {
 public:
  void put(Responder&& responder) {
    std::lock_guard lock(mutex_);
    held_.push_back(std::move(responder));
    changed_.notify_all();
  }
  bool wait(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 5s, [&] { return held_.size() >= count; });
  }
  Responder& at(size_t index) {
    std::lock_guard lock(mutex_);
    return held_.at(index);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Responder> held_;
};

// Answers one request after another from a thread of its own, each 1 us later than the last one.
class AnsweringThread {
 public:
  AnsweringThread() : thread_([this] { run(); }) {}
  ~AnsweringThread() {
    ending_ = true;
    thread_.join();
  }
  void put(Responder&& responder) {
    std::lock_guard lock(mutex_);
    next_.emplace(std::move(responder));
  }

 private:
  std::optional<Responder> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(next_, std::nullopt);
  }
  void run() {
    for (int delay_us = 0; !ending_;) {
      std::optional<Responder> responder = take();
      if (!responder) continue;
      const auto due = Time::now() + std::chrono::microseconds(delay_us++ % 100);
      while (Time::now() < due) {
      }
      responder->send(json_response(200, {}));
    }
  }

  std::mutex mutex_;
  std::optional<Responder> next_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    options_.port = 0;
    router_.add("GET", "/hello", [](const Request& request, Responder& responder) {
      responder.send(json_response(200, {{"query", request.query}}));
    });
    router_.add("POST", "/echo", [](const Request& request, Responder& responder) {
      Response response;
      response.content_type = "text/plain";
      response.body = request.body;
      responder.send(std::move(response));
    });
    router_.add("GET", "/later",
                [this](const Request&, Responder& responder) { held_.put(std::move(responder)); });
    router_.add("GET", "/huge", [](const Request&, Responder& responder) {
      Response response;
      response.body = std::string(32 << 20, 'x');
      responder.send(std::move(response));
    });
    router_.add("GET", "/slow", [](const Request& request, Responder& responder) {
      // Answers from another thread, after as many ms as the query says.
      std::thread([ms = std::stoi(request.query), responder = std::move(responder)]() mutable {
        std::this_thread::sleep_for(std::chrono::milliseconds(ms));
        responder.send(json_response(200, {{"slept", ms}}));
      }).detach();
    });
  }

  uint16_t start() {
    server_ = std::make_unique<HttpServer>(options_, router_);
    return server_->port();
  }

  // What the server says to these bytes.
  RawResponse say(const std::string& bytes) {
    RawClient client(server_->port());
    client.send(bytes);
    return client.read().value_or(RawResponse{});
  }

  bool wait_for_connections(size_t count) const {
    const auto deadline = Time::now() + 5s;
    while (Time::now() < deadline) {
      if (server_->connections() == count) return true;
      std::this_thread::sleep_for(5ms);
    }
    return false;
  }

  HttpOptions options_;
  Router router_;
  Held held_;
  std::optional<AnsweringThread> answering_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersAGet) {
  start();
  const RawResponse response = say(get("/hello?a=1&b"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"query":"a=1&b"})");
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  EXPECT_EQ(response.headers.at("content-length"), std::to_string(response.body.size()));
  EXPECT_THAT(response.headers.at("date"), HasSubstr(" GMT"));
}

TEST_F(HttpServerTest, UrlNamesTheFreePortItTook) {
  const uint16_t port = start();
  EXPECT_GT(port, 0);
  EXPECT_EQ(server_->url(), "http://127.0.0.1:" + std::to_string(port));
}

TEST_F(HttpServerTest, HeadHasTheLengthAndNoBody) {
  RawClient client(start());
  client.send("HEAD /hello HTTP/1.1\r\nHost: test\r\n\r\n" + get("/hello"));
  const auto head = client.read(/*head=*/true);
  const auto body = client.read();
  ASSERT_TRUE(head && body);
  EXPECT_EQ(head->status, 200);
  EXPECT_EQ(head->headers.at("content-length"), std::to_string(body->body.size()));
}

TEST_F(HttpServerTest, KeepsTheConnection) {
  RawClient client(start());
  for (int i = 0; i < 20; ++i) {
    const std::string body = "body " + std::to_string(i);
    ASSERT_TRUE(client.send(post("/echo", body)));
    const auto response = client.read();
    ASSERT_TRUE(response);
    EXPECT_EQ(response->body, body);
  }
  EXPECT_EQ(server_->connections(), 1U);
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  RawClient client(start());
  std::string bytes;
  for (int i = 0; i < 50; ++i) {
    bytes += i % 10 == 3 ? get("/slow?20") : post("/echo", std::to_string(i));
  }
  ASSERT_TRUE(client.send(bytes));
  for (int i = 0; i < 50; ++i) {
    const auto response = client.read();
    ASSERT_TRUE(response) << i;
    EXPECT_EQ(response->body, i % 10 == 3 ? R"({"slept":20})" : std::to_string(i));
  }
}

TEST_F(HttpServerTest, TakesARequestByteByByte) {
  RawClient client(start());
  for (const char byte : post("/echo", "drops")) ASSERT_TRUE(client.send({&byte, 1}));
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body, "drops");
}

TEST_F(HttpServerTest, ClosesWhenAsked) {
  RawClient client(start());
  client.send(get("/hello", "Connection: close\r\n"));
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->headers.at("connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, Http10ClosesByItself) {
  RawClient client(start());
  client.send("GET /hello HTTP/1.0\r\n\r\n");
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, TakesAChunkedBody) {
  start();
  const RawResponse response =
      say("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
          "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
  EXPECT_EQ(response.body, "abcdefg");
}

TEST_F(HttpServerTest, SaysContinueToAClientThatWaitsForIt) {
  RawClient client(start());
  client.send(
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  const auto go_on = client.read(/*head=*/true);
  ASSERT_TRUE(go_on);
  EXPECT_EQ(go_on->status, 100);
  client.send("ok");
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body, "ok");
}

TEST_F(HttpServerTest, TakesAbsoluteTargets) {
  start();
  EXPECT_EQ(say("GET http://test/hello?x HTTP/1.1\r\nHost: test\r\n\r\n").body, R"({"query":"x"})");
}

TEST_F(HttpServerTest, UnknownPathAndMethodKeepTheConnection) {
  RawClient client(start());
  client.send(get("/nowhere") + "PUT /hello HTTP/1.1\r\nHost: test\r\n\r\n" + get("/hello"));
  const auto unknown = client.read();
  const auto method = client.read();
  const auto known = client.read();
  ASSERT_TRUE(unknown && method && known);
  EXPECT_EQ(unknown->status, 404);
  EXPECT_EQ(unknown->body, R"({"error":"no such path: /nowhere"})");
  EXPECT_EQ(method->status, 405);
  EXPECT_EQ(method->headers.at("allow"), "GET, HEAD");
  EXPECT_EQ(known->status, 200);
}

TEST_F(HttpServerTest, RefusesWhatIsNotHttp) {
  start();
  const std::vector<std::string> wrong = {
      "nonsense\r\n\r\n",
      "GET /hello HTTP/3.7\r\nHost: test\r\n\r\n",
      "GET /hello HTTP/1.1\r\nHost test\r\n\r\n",
      "GET /hello HTTP/1.1\r\n\r\n",  // no Host
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: twelve\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      std::string("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n") +
          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      std::string("GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n", 29),
      "\x16\x03\x01\x02",  // the start of TLS
  };
  for (const std::string& bytes : wrong) {
    RawClient client(server_->port());
    client.send(bytes);
    const auto response = client.read();
    ASSERT_TRUE(response) << bytes;
    EXPECT_EQ(response->status, 400) << bytes;
    EXPECT_THAT(response->body, testing::StartsWith(R"({"error":")")) << bytes;
    EXPECT_EQ(response->headers.at("connection"), "close") << bytes;
    EXPECT_TRUE(client.closed()) << bytes;
  }
  EXPECT_EQ(say(get("/hello")).status, 200);
}

TEST_F(HttpServerTest, RefusesALargeBody) {
  options_.max_body_bytes = 1000;
  start();
  EXPECT_EQ(say(post("/echo", std::string(1000, 'a'))).body, std::string(1000, 'a'));
  const RawResponse response = say(post("/echo", std::string(1001, 'a')));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(response.body, R"({"error":"the body is larger than the limit of 1000 bytes"})");
}

TEST_F(HttpServerTest, AClientInTheMiddleOfAVeryLargeBodyGetsTheAnswer) {
  options_.max_body_bytes = 1000;
  RawClient client(start());
  client.send(post("/echo", std::string(8 << 20, 'a')));
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 413);
}

TEST_F(HttpServerTest, RefusesALargeChunkedBody) {
  options_.max_body_bytes = 10;
  start();
  EXPECT_EQ(say("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                "6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n")
                .status,
            413);
}

TEST_F(HttpServerTest, RefusesALargeHeader) {
  options_.max_header_bytes = 1000;
  start();
  const RawResponse response = say(get("/hello", "X: " + std::string(1000, 'a') + "\r\n"));
  EXPECT_EQ(response.status, 431);
  EXPECT_EQ(response.body, R"({"error":"the header is larger than the limit of 1000 bytes"})");
}

TEST_F(HttpServerTest, RefusesAnEndlessChunkExtension) {
  options_.max_header_bytes = 1000;
  RawClient client(start());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1;");
  const std::string piece(64 * 1024, 'e');
  for (int i = 0; i < 64 && client.send(piece); ++i) {
  }
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 431);
}

TEST_F(HttpServerTest, RefusesEncodedBodiesAndOtherExpectations) {
  start();
  EXPECT_EQ(say(post("/echo", "x", "Content-Encoding: gzip\r\n")).status, 415);
  EXPECT_EQ(say(post("/echo", "x", "Expect: miracles\r\n")).status, 417);
}

TEST_F(HttpServerTest, SlowHeaderIsCutOff) {
  options_.header_timeout = 300ms;
  RawClient client(start());
  const auto began = Time::now();
  // A byte every 50 ms: each read makes progress, the request does not.
  const std::string bytes = get("/hello", "X: " + std::string(200, 'a') + "\r\n");
  std::optional<RawResponse> response;
  for (size_t i = 0; i < bytes.size() && !response; ++i) {
    client.send(bytes.substr(i, 1));
    response = client.read(false, 50);
  }
  const auto took = Time::now() - began;
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 408);
  EXPECT_EQ(response->body, R"({"error":"the request did not come within 300 ms"})");
  EXPECT_GE(took, 290ms);
  EXPECT_LT(took, 2s);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, SlowBodyIsCutOff) {
  options_.body_timeout = 200ms;
  RawClient client(start());
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 408);
}

TEST_F(HttpServerTest, IdleConnectionIsClosedSilently) {
  options_.idle_timeout = 200ms;
  RawClient silent(start());
  RawClient used(server_->port());
  used.send(get("/hello"));
  ASSERT_TRUE(used.read());
  EXPECT_TRUE(silent.closed());
  EXPECT_TRUE(used.closed());
  EXPECT_TRUE(wait_for_connections(0));
}

TEST_F(HttpServerTest, SlowReaderIsCutOff) {
  options_.write_timeout = 300ms;
  RawClient client(start(), /*receive_buffer_bytes=*/4096);
  client.send(get("/huge"));
  EXPECT_TRUE(wait_for_connections(1));
  EXPECT_TRUE(wait_for_connections(0));
  EXPECT_EQ(client.read(), std::nullopt);
}

TEST_F(HttpServerTest, ManySlowClientsDoNotDelayAQuickOne) {
  start();
  std::vector<std::unique_ptr<RawClient>> slow;
  for (int i = 0; i < 200; ++i) {
    slow.push_back(std::make_unique<RawClient>(server_->port()));
    slow.back()->send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Len");
  }
  const auto began = Time::now();
  EXPECT_EQ(say(get("/hello")).status, 200);
  EXPECT_LT(Time::now() - began, 1s);
}

TEST_F(HttpServerTest, ConnectionsOverTheLimitAreToldSo) {
  options_.max_connections = 2;
  start();
  {
    RawClient one(server_->port());
    RawClient two(server_->port());
    ASSERT_TRUE(wait_for_connections(2));
    const RawResponse response = say(get("/hello"));
    EXPECT_EQ(response.status, 503);
    EXPECT_EQ(response.headers.at("retry-after"), "1");
    EXPECT_EQ(response.body, R"({"error":"all 2 connections are taken; try again"})");
  }
  ASSERT_TRUE(wait_for_connections(0));
  EXPECT_EQ(say(get("/hello")).status, 200);
}

TEST_F(HttpServerTest, SlowHandlerIs504AndItsAnswerIsDropped) {
  options_.answer_timeout = 200ms;
  RawClient client(start());
  client.send(get("/later"));
  const auto response = client.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 504);
  EXPECT_EQ(response->body, R"({"error":"no answer within 200 ms"})");
  EXPECT_TRUE(held_.at(0).client_gone());
  held_.at(0).send(json_response(200, {}));
  client.send(get("/hello"));
  const auto next = client.read();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->body, R"({"query":""})");
}

TEST_F(HttpServerTest, HandlerSeesItsClientGo) {
  RawClient client(start());
  RawClient other(server_->port());
  client.send(get("/later"));
  other.send(get("/later"));
  ASSERT_TRUE(held_.wait(2));
  EXPECT_FALSE(held_.at(0).client_gone());
  client.close();
  ASSERT_TRUE(wait_for_connections(1));
  EXPECT_NE(held_.at(0).client_gone(), held_.at(1).client_gone());
  held_.at(0).send(json_response(200, {}));
  held_.at(1).send(json_response(200, {}));
  EXPECT_TRUE(other.read());
}

TEST_F(HttpServerTest, RequestsSentWhileOneIsAnsweredAreKept) {
  RawClient client(start());
  client.send(get("/later"));
  ASSERT_TRUE(held_.wait(1));
  const std::string body(40'000, 'b');  // more than is read ahead
  client.send(post("/echo", body) + get("/hello"));
  std::this_thread::sleep_for(50ms);
  held_.at(0).send(json_response(200, {{"first", 1}}));
  EXPECT_EQ(client.read().value_or(RawResponse{}).body, R"({"first":1})");
  EXPECT_EQ(client.read().value_or(RawResponse{}).body, body);
  EXPECT_EQ(client.read().value_or(RawResponse{}).status, 200);
}

// An answer that comes just as a piece of the next request has been read ahead: the requests are
// larger than such a piece, and the answers come a little later from one to the next.
TEST_F(HttpServerTest, AnswersThatMeetAReadAheadAreSent) {
  answering_.emplace();
  router_.add("POST", "/soon", [this](const Request&, Responder& responder) {
    answering_->put(std::move(responder));
  });
  RawClient client(start());
  constexpr int kRequests = 40;
  std::string bytes;
  for (int i = 0; i < kRequests; ++i) bytes += post("/soon", std::string(6000, 'b'));
  for (int round = 0; round < 50; ++round) {
    ASSERT_TRUE(client.send(bytes));
    for (int i = 0; i < kRequests; ++i) ASSERT_TRUE(client.read()) << round << ", " << i;
  }
}

TEST_F(HttpServerTest, ManyClientsAtOnceGetTheirOwnAnswers) {
  start();
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      RawClient client(server_->port());
      for (int i = 0; i < 50; ++i) {
        const std::string body = std::to_string(t) + ":" + std::to_string(i);
        client.send(post("/echo", body) + get("/slow?1"));
        const auto echo = client.read();
        const auto slow = client.read();
        right += echo && echo->body == body && slow && slow->body == R"({"slept":1})";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 16 * 50);
}

TEST_F(HttpServerTest, StopLetsRequestsFinish) {
  RawClient busy(start());
  RawClient idle(server_->port());
  RawClient part(server_->port());
  busy.send(get("/slow?300"));
  const std::string bytes = post("/echo", "late");
  part.send(bytes.substr(0, 20));
  ASSERT_TRUE(wait_for_connections(3));
  std::this_thread::sleep_for(50ms);
  bool finished = false;
  std::thread stopper([&] { finished = server_->stop(5s); });
  EXPECT_TRUE(idle.closed());
  EXPECT_FALSE(RawClient(server_->port()).connected());
  part.send(bytes.substr(20));
  const auto late = part.read();
  const auto slow = busy.read();
  part.close();
  busy.close();
  stopper.join();
  ASSERT_TRUE(late && slow);
  EXPECT_EQ(late->body, "late");
  EXPECT_EQ(late->headers.at("connection"), "close");
  EXPECT_EQ(slow->body, R"({"slept":300})");
  EXPECT_EQ(slow->headers.at("connection"), "close");
  EXPECT_TRUE(finished);
}

TEST_F(HttpServerTest, StopCutsOffWhatDoesNotFinish) {
  RawClient client(start());
  client.send(get("/later"));
  ASSERT_TRUE(held_.wait(1));
  const auto began = Time::now();
  EXPECT_FALSE(server_->stop(200ms));
  EXPECT_GE(Time::now() - began, 190ms);
  EXPECT_LT(Time::now() - began, 2s);
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(held_.at(0).client_gone());
  server_.reset();
  held_.at(0).send(json_response(200, {}));  // after the server's end: dropped
}

TEST_F(HttpServerTest, PortInUseIsAnInputErrorThatNamesIt) {
  const uint16_t port = start();
  options_.port = port;
  try {
    HttpServer second(options_, router_);
    FAIL() << "two servers on one port";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(),
                HasSubstr("port " + std::to_string(port) + " on 127.0.0.1 is in use"));
  }
  server_.reset();
  EXPECT_EQ(HttpServer(options_, router_).port(), port);  // free again at once
}

TEST_F(HttpServerTest, AddressOfAnotherMachineIsAnInputError) {
  options_.host = "192.0.2.1";
  try {
    start();
    FAIL() << "listens on another machine's address";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_THAT(error.what(), HasSubstr("192.0.2.1"));
  }
}

TEST_F(HttpServerTest, ZeroLimitIsAnInputError) {
  options_.idle_timeout = 0ms;
  EXPECT_THROW(start(), Error);
}

}  // namespace
}  // namespace trireme::serve
