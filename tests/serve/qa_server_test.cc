// The whole QA server on loopback: client, HTTP, service, signals, drain.
#include "trireme/serve/qa_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <future>
#include <optional>
#include <thread>

#include "tests/serve/fake_engine.h"
#include "tests/serve/raw_client.h"
#include "trireme/serve/http_client.h"

namespace trireme::serve {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

const char* const kQuestion = R"({"question": "b", "context": "abc"})";

class QaServerTest : public testing::Test {
 protected:
  QaServerTest() { options_.http.port = 0; }
  ~QaServerTest() override {
    control_.release();
    if (server_) server_->request_stop();
    if (running_.valid()) running_.wait();
  }

  // A server that runs on a thread of its own and is ready.
  void start() {
    server_.emplace(options_, [this] { return std::make_unique<FakeEngine>(control_); });
    std::promise<void> ready;
    running_ = std::async(std::launch::async,
                          [this, &ready] { return server_->run([&ready] { ready.set_value(); }); });
    ready.get_future().wait();
  }

  HttpClient client(std::chrono::milliseconds timeout = 5s) const {
    return HttpClient("127.0.0.1", server_->port(), timeout);
  }

  EngineControl control_;
  QaServerOptions options_;
  std::optional<QaServer> server_;
  std::future<bool> running_;
};

TEST_F(QaServerTest, AnswersOverHttp) {
  start();
  HttpClient http = client();
  const HttpResult ready = http.get("/v2/health/ready");
  EXPECT_EQ(ready.status, 200);
  for (int i = 0; i < 3; ++i) {
    const HttpResult result = http.post("/v1/qa", kQuestion);
    EXPECT_EQ(result.status, 200);
    const Json answer = parse_json(result.body, "answer");
    EXPECT_EQ(answer["answer"], "b");
    EXPECT_EQ(answer["start"], 1);
    EXPECT_EQ(answer["end"], 2);
  }
  EXPECT_EQ(http.request("GET", "/v1/qa", "", {}).status, 405);
  EXPECT_EQ(http.request("HEAD", "/v2/health/live", "", {}).status, 200);
  EXPECT_EQ(http.post("/v1/qa", "{").status, 400);
}

TEST_F(QaServerTest, ADisconnectFreesItsWork) {
  constexpr auto kSeen = 300ms;  // until the server has read what was sent, on a busy machine too
  start();
  control_.hold();
  RawClient busy(server_->port());
  busy.send(post("/v1/qa", kQuestion));
  ASSERT_TRUE(control_.wait_for_batches(1));
  RawClient gone(server_->port());
  gone.send(post("/v1/qa", R"({"question": "gone", "context": "x"})"));
  RawClient stays(server_->port());
  stays.send(post("/v1/qa", R"({"question": "stays", "context": "x"})"));
  std::this_thread::sleep_for(kSeen);
  gone.close();
  std::this_thread::sleep_for(kSeen);
  control_.release();
  EXPECT_EQ(stays.read().value_or(RawResponse{}).status, 200);
  EXPECT_THAT(control_.batches(),
              testing::ElementsAre(testing::ElementsAre("b"), testing::ElementsAre("stays")));
}

TEST_F(QaServerTest, SigtermDrains) {
  options_.service.drain_admit = 100ms;
  start();
  control_.hold();
  RawClient busy(server_->port());
  busy.send(post("/v1/qa", kQuestion));
  ASSERT_TRUE(control_.wait_for_batches(1));
  ::raise(SIGTERM);
  HttpClient http = client();
  int status = 200;
  for (int i = 0; i < 100 && status == 200; ++i) {
    status = http.get("/v2/health/ready").status;
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_EQ(status, 503);
  EXPECT_EQ(http.get("/v2/health/live").status, 200);
  std::this_thread::sleep_for(150ms);
  EXPECT_EQ(http.post("/v1/qa", kQuestion).status, 503);
  EXPECT_EQ(running_.wait_for(0s), std::future_status::timeout);
  control_.release();
  const auto response = busy.read();
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_TRUE(running_.get());
  EXPECT_THROW(client(500ms).get("/v2/health/live"), Error);
}

TEST_F(QaServerTest, ADrainIsBoundedAndAnswersEveryone) {
  options_.drain = 200ms;
  options_.service.drain_admit = 0ms;
  start();
  control_.hold();
  RawClient busy(server_->port());
  busy.send(post("/v1/qa", kQuestion));
  ASSERT_TRUE(control_.wait_for_batches(1));
  const auto began = std::chrono::steady_clock::now();
  server_->request_stop();
  EXPECT_FALSE(running_.get());
  EXPECT_GE(std::chrono::steady_clock::now() - began, 190ms);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  EXPECT_EQ(busy.read().value_or(RawResponse{}).status, 503);
}

TEST_F(QaServerTest, TheLoadersErrorEndsTheRun) {
  QaServer server(options_, []() -> std::unique_ptr<QaEngine> {
    throw input_error("runs/a/manifest.json: no such file");
  });
  try {
    server.run();
    FAIL() << "ran without an engine";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "runs/a/manifest.json: no such file");
  }
}

TEST_F(QaServerTest, PortInUseIsSeenBeforeTheModelIsLoaded) {
  start();
  options_.http.port = server_->port();
  bool loads = false;
  EXPECT_THROW(QaServer(options_,
                        [&]() -> std::unique_ptr<QaEngine> {
                          loads = true;
                          return nullptr;
                        }),
               Error);
  EXPECT_FALSE(loads);
}

TEST_F(QaServerTest, LosesNoRequestInAStorm) {
  options_.service.max_queue_items = 64;
  start();
  std::atomic<int> right{0};
  std::atomic<int> busy{0};
  std::vector<std::thread> threads;
  constexpr int kThreads = 12;
  constexpr int kRequests = 60;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto http = std::make_unique<RawClient>(server_->port());
      for (int i = 0; i < kRequests; ++i) {
        const std::string word = std::to_string(t) + "-" + std::to_string(i) + ".";
        const std::string body =
            dump_json({{"question", {word, "no"}}, {"context", "\u00e9" + word}});
        http->send(i % 7 == 3 ? post("/v1/qa", "{broken") : post("/v1/qa", body));
        if (i % 11 == 5) {  // leaves without waiting
          http = std::make_unique<RawClient>(server_->port());
          ++right;
          continue;
        }
        const auto response = http->read();
        if (!response) continue;
        if (response->status == 429) {
          ++busy;
        } else if (i % 7 == 3) {
          right += response->status == 400;
        } else if (response->status == 200) {
          const Json answers = parse_json(response->body, "answer")["answers"];
          right += answers.size() == 2 && answers[0]["answer"] == word &&
                   answers[0]["start"] == 1 && answers[1]["answer"].get<std::string>().empty();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right + busy, kThreads * kRequests);
  EXPECT_GT(right, kThreads * kRequests / 2);
}

TEST(HttpClient, NothingListeningIsARunErrorThatNamesTheAddress) {
  try {
    HttpClient("127.0.0.1", 1, 1s).get("/x");
    FAIL() << "an answer from nobody";
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 1);
    EXPECT_THAT(error.what(), HasSubstr("http://127.0.0.1:1/x: "));
  }
}

TEST_F(QaServerTest, TheClientGivesUpInTime) {
  start();
  control_.hold();
  HttpClient http = client(200ms);
  const auto began = std::chrono::steady_clock::now();
  try {
    http.post("/v1/qa", kQuestion);
    FAIL() << "an answer from a stuck engine";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no answer within 200 ms"));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, 2s);
  control_.release();
  EXPECT_EQ(http.get("/v2/health/live").status, 200);  // and can be used again
}

TEST_F(QaServerTest, TheClientConnectsAgainAfterAnIdleClose) {
  options_.http.idle_timeout = 50ms;
  start();
  HttpClient http = client();
  EXPECT_EQ(http.post("/v1/qa", kQuestion).status, 200);
  std::this_thread::sleep_for(150ms);
  EXPECT_EQ(http.post("/v1/qa", kQuestion).status, 200);
}

TEST_F(QaServerTest, TheClientReadsA413BeforeItsBodyIsThrough) {
  options_.http.max_body_bytes = 1000;
  start();
  HttpClient http = client();
  EXPECT_EQ(http.post("/v1/qa", std::string(8 << 20, ' ')).status, 413);
  EXPECT_EQ(http.get("/v2/health/live").status, 200);
}

}  // namespace
}  // namespace trireme::serve
