// The QA service without sockets: its queue, its batches, its health.
#include "trireme/serve/qa_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/serve/fake_engine.h"

namespace trireme::serve {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

// A request on its way.
class Call {
 public:
  Call() {
    exchange_->arm([this] { done_.set_value(); });
  }
  const std::shared_ptr<Exchange>& exchange() const { return exchange_; }
  // The answer; status 0 when none comes.
  Response wait(std::chrono::milliseconds timeout = 5s) {
    if (future_.wait_for(timeout) != std::future_status::ready) return error_response(0, "none");
    return exchange_->take_response().value();
  }
  bool answered() const { return future_.wait_for(0s) == std::future_status::ready; }

 private:
  std::promise<void> done_;
  std::future<void> future_ = done_.get_future();
  std::shared_ptr<Exchange> exchange_ = std::make_shared<Exchange>();
};

std::string question(const std::string& text, const std::string& context = "x") {
  return dump_json({{"question", text}, {"context", context}});
}

std::string questions(const std::vector<std::string>& texts) {
  return dump_json({{"question", texts}, {"context", "x"}});
}

class QaServiceTest : public testing::Test {
 protected:
  ~QaServiceTest() override { control_.release(); }

  void start() {
    service_ = std::make_unique<QaService>(options_);
    service_->add_routes(router_);
    std::promise<void> loaded;
    service_->start([this] { return std::make_unique<FakeEngine>(control_); },
                    [&](std::exception_ptr) { loaded.set_value(); });
    loaded.get_future().wait();
  }

  std::unique_ptr<Call> call(const std::string& body, const std::string& method = "POST",
                             const std::string& path = "/v1/qa") {
    auto call = std::make_unique<Call>();
    Request request;
    request.method = method;
    request.path = path;
    request.body = body;
    router_.dispatch(std::move(request), call->exchange());
    return call;
  }

  // A request that keeps the engine busy from now on.
  std::unique_ptr<Call> occupy() {
    control_.hold();
    const size_t batches = control_.batches().size();
    auto busy = call(question("busy"));
    EXPECT_TRUE(control_.wait_for_batches(batches + 1));
    return busy;
  }

  Response get(const std::string& path) { return call("", "GET", path)->wait(); }

  EngineControl control_;
  QaServiceOptions options_;
  Router router_;
  std::unique_ptr<QaService> service_;
};

TEST_F(QaServiceTest, AnswersWithCodePointOffsets) {
  start();
  const auto done = call(question("caf\u00e9", "\U0001F600 the caf\u00e9"))->wait();
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(
      done.body,
      "{\"answer\":\"caf\u00e9\",\"score\":0.75,\"start\":6,\"end\":10,\"no_answer_score\":0.125,"
      "\"n_best\":[{\"answer\":\"caf\u00e9\",\"score\":0.75,\"start\":6,\"end\":10}]}");
}

TEST_F(QaServiceTest, ListsKeepTheirOrder) {
  start();
  const Response done =
      call(R"({"question": ["b", "a", "no"], "context": "ab", "n_best": 2})")->wait();
  ASSERT_EQ(done.status, 200);
  const Json answers = parse_json(done.body, "answer")["answers"];
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_EQ(answers[0]["start"], 1);
  EXPECT_EQ(answers[1]["start"], 0);
  EXPECT_EQ(answers[1]["end"], 1);
  EXPECT_EQ(answers[2]["answer"], "");
  EXPECT_EQ(answers[2]["n_best"].size(), 2U);
}

TEST_F(QaServiceTest, WrongRequestsNameTheField) {
  start();
  const Response done = call(R"({"question": "a", "context": 3})")->wait();
  EXPECT_EQ(done.status, 400);
  EXPECT_EQ(done.body, R"({"error":"context: must be a string or a list of strings, is number",)"
                       R"("field":"context"})");
  EXPECT_TRUE(control_.batches().empty());
}

TEST_F(QaServiceTest, GathersWhileTheEngineIsBusyUpToTheBudget) {
  options_.batch_items = 3;
  start();
  const auto busy = occupy();
  const auto a = call(question("a"));
  const auto list = call(questions({"b", "c", "d", "e"}));
  const auto f = call(question("f"));
  control_.release();
  for (const auto* waiting : {&busy, &a, &list, &f}) EXPECT_EQ((*waiting)->wait().status, 200);
  EXPECT_THAT(control_.batches(), ElementsAre(ElementsAre("busy"), ElementsAre("a", "b", "c"),
                                              ElementsAre("d", "e", "f")));
}

TEST_F(QaServiceTest, TheBudgetOfCharactersBoundsABatch) {
  options_.batch_chars = 10;
  start();
  const auto busy = occupy();
  const auto a = call(question("a", "1234"));
  const auto b = call(question("b", "1234"));
  const auto c = call(question("c", std::string(50, 'x')));  // alone, whatever its length
  const auto d = call(question("d"));
  control_.release();
  EXPECT_EQ(d->wait().status, 200);
  EXPECT_THAT(control_.batches(), ElementsAre(ElementsAre("busy"), ElementsAre("a", "b"),
                                              ElementsAre("c"), ElementsAre("d")));
}

TEST_F(QaServiceTest, AFullQueueIs429AlikeForOneAndForAList) {
  options_.limits.max_items = 4;
  options_.max_queue_items = 4;
  start();
  const auto busy = occupy();
  const auto three = call(questions({"a", "b", "c"}));
  const auto began = std::chrono::steady_clock::now();
  const Response two = call(questions({"d", "e"}))->wait();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 100ms);
  EXPECT_EQ(two.status, 429);
  EXPECT_EQ(two.body, R"({"error":"the queue is full (3 of 4 queries wait); try again"})");
  const auto fourth = call(question("f"));
  const Response fifth = call(question("g"))->wait();
  EXPECT_EQ(fifth.status, 429);
  ASSERT_EQ(fifth.headers.size(), 1U);
  EXPECT_EQ(fifth.headers[0].first, "Retry-After");
  EXPECT_GE(std::stoi(fifth.headers[0].second), 1);
  EXPECT_EQ(call(questions({"h"}))->wait().status, 429);
  EXPECT_FALSE(fourth->answered());
  control_.release();
  EXPECT_EQ(three->wait().status, 200);
  EXPECT_EQ(fourth->wait().status, 200);
  EXPECT_EQ(call(questions({"i", "j", "k", "l"}))->wait().status, 200);
}

TEST_F(QaServiceTest, TheQueueIsBoundedInCharactersToo) {
  options_.limits.max_context_chars = 90;
  options_.limits.max_question_chars = 10;
  options_.max_queue_chars = 100;
  start();
  const auto busy = occupy();
  const auto a = call(question("a", std::string(60, 'x')));
  EXPECT_EQ(call(question("b", std::string(60, 'x')))->wait().status, 429);
  const Response never =
      call(dump_json({{"question", {"c", "d"}}, {"context", std::string(60, 'x')}}))->wait();
  EXPECT_EQ(never.status, 413);
  EXPECT_EQ(never.body, R"({"error":"the request has 122 characters; the limit is 100"})");
  control_.release();
  EXPECT_EQ(a->wait().status, 200);
  EXPECT_EQ(call(question("e", std::string(60, 'x')))->wait().status, 200);
}

TEST_F(QaServiceTest, WorkOfAClientThatLeftIsDropped) {
  options_.max_queue_items = 64;
  start();
  const auto busy = occupy();
  const auto gone = call(question("gone"));
  const auto stays = call(question("stays"));
  gone->exchange()->set_client_gone();
  control_.release();
  EXPECT_EQ(stays->wait().status, 200);
  EXPECT_THAT(control_.batches(), ElementsAre(ElementsAre("busy"), ElementsAre("stays")));
}

TEST_F(QaServiceTest, TheRestOfAListWhoseClientLeftIsDropped) {
  options_.batch_items = 2;
  start();
  control_.hold();
  const auto list = call(questions({"a", "b", "c", "d"}));
  ASSERT_TRUE(control_.wait_for_batches(1));
  list->exchange()->set_client_gone();
  const auto next = call(question("next"));
  control_.release();
  EXPECT_EQ(next->wait().status, 200);
  EXPECT_THAT(control_.batches(), ElementsAre(ElementsAre("a", "b"), ElementsAre("next")));
  EXPECT_TRUE(service_->wait_idle(std::chrono::steady_clock::now() + 5s));
}

TEST_F(QaServiceTest, ClientsThatLeftMakeRoomInAFullQueue) {
  options_.limits.max_items = 1;
  options_.max_queue_items = 1;
  start();
  const auto busy = occupy();
  const auto gone = call(question("gone"));
  EXPECT_EQ(call(question("early"))->wait().status, 429);
  gone->exchange()->set_client_gone();
  const auto later = call(question("later"));
  control_.release();
  EXPECT_EQ(later->wait().status, 200);
}

TEST_F(QaServiceTest, ARefusedQueryIs400) {
  start();
  const Response one = call(question("refuse"))->wait();
  EXPECT_EQ(one.status, 400);
  EXPECT_EQ(one.body, R"({"error":"the question has 99 tokens; the limit is 64"})");
  const Response list = call(questions({"x", "refuse"}))->wait();
  EXPECT_EQ(list.status, 400);
  EXPECT_EQ(list.body, R"({"error":"query 1: the question has 99 tokens; the limit is 64"})");
}

TEST_F(QaServiceTest, OneQuerysFailureIsNotItsNeighbours) {
  start();
  for (const char* wrong : {"throw", "count"}) {
    const auto busy = occupy();
    const auto before = call(question("x"));
    const auto broken = call(question(wrong));
    const auto after = call(question("x"));
    control_.release();
    EXPECT_EQ(before->wait().status, 200);
    const Response response = broken->wait();
    EXPECT_EQ(response.status, 500);
    EXPECT_THAT(response.body, testing::Not(HasSubstr("fake engine")));
    EXPECT_EQ(after->wait().status, 200);
  }
}

TEST_F(QaServiceTest, MetadataAndHealth) {
  options_.version = "1.2.3";
  start();
  EXPECT_EQ(get("/v2").body, R"({"name":"trireme","version":"1.2.3","extensions":[]})");
  EXPECT_EQ(get("/v2/health/live").body, R"({"live":true})");
  EXPECT_EQ(get("/v2/health/ready").status, 200);
  EXPECT_EQ(get("/v2/health/ready").body, R"({"ready":true})");
}

TEST_F(QaServiceTest, UnreadyUntilLoaded) {
  QaService service(options_);
  service.add_routes(router_);
  std::promise<void> go;
  std::promise<void> loaded;
  service.start(
      [&] {
        go.get_future().wait();
        return std::make_unique<FakeEngine>(control_);
      },
      [&](const std::exception_ptr& failure) {
        EXPECT_FALSE(failure);
        loaded.set_value();
      });
  EXPECT_EQ(get("/v2/health/live").status, 200);
  EXPECT_EQ(get("/v2/health/ready").status, 503);
  EXPECT_EQ(get("/v2/health/ready").body, R"({"ready":false,"error":"the model is being loaded"})");
  EXPECT_EQ(call(question("a"))->wait().status, 503);
  go.set_value();
  loaded.get_future().wait();
  EXPECT_EQ(get("/v2/health/ready").status, 200);
  EXPECT_EQ(call(question("a"))->wait().status, 200);
}

TEST_F(QaServiceTest, AFailedLoadIsHandedOnAndUnready) {
  QaService service(options_);
  service.add_routes(router_);
  std::promise<std::exception_ptr> loaded;
  service.start([]() -> std::unique_ptr<QaEngine> { throw input_error("no such file: weights"); },
                [&](std::exception_ptr failure) { loaded.set_value(failure); });
  EXPECT_THROW(std::rethrow_exception(loaded.get_future().get()), Error);
  EXPECT_EQ(service.unready_reason(), "the model could not be loaded");
  EXPECT_EQ(call(question("a"))->wait().status, 503);
}

TEST_F(QaServiceTest, AStuckEngineIsUnreadyUntilItMoves) {
  options_.stall_timeout = 100ms;
  start();
  std::this_thread::sleep_for(150ms);  // idle is not stuck
  EXPECT_EQ(service_->unready_reason(), "");
  const auto busy = occupy();
  EXPECT_EQ(service_->unready_reason(), "");
  std::this_thread::sleep_for(150ms);
  EXPECT_THAT(service_->unready_reason(), HasSubstr("has not finished its batch"));
  EXPECT_EQ(get("/v2/health/ready").status, 503);
  control_.release();
  EXPECT_EQ(busy->wait().status, 200);
  EXPECT_EQ(get("/v2/health/ready").status, 200);
}

TEST_F(QaServiceTest, DrainTakesWhatWasOnItsWayAndNothingAfter) {
  options_.drain_admit = 300ms;
  start();
  const auto busy = occupy();
  const auto waits = call(question("waits"));
  service_->begin_drain();
  EXPECT_EQ(service_->unready_reason(), "the server is shutting down");
  const auto on_its_way = call(question("on its way"));
  EXPECT_FALSE(service_->wait_idle(std::chrono::steady_clock::now() + 350ms));
  const Response late = call(question("late"))->wait();
  EXPECT_EQ(late.status, 503);
  EXPECT_TRUE(late.close);
  EXPECT_FALSE(on_its_way->answered());
  control_.release();
  EXPECT_TRUE(service_->wait_idle(std::chrono::steady_clock::now() + 5s));
  EXPECT_EQ(busy->wait().status, 200);
  EXPECT_EQ(waits->wait().status, 200);
  EXPECT_EQ(on_its_way->wait().status, 200);
}

TEST_F(QaServiceTest, AbandonedRequestsAre503) {
  start();
  const auto busy = occupy();
  const auto waits = call(question("waits"));
  service_->abandon();
  EXPECT_EQ(busy->wait().status, 503);
  EXPECT_EQ(waits->wait().status, 503);
}

TEST_F(QaServiceTest, TheEndAnswersWhatIsLeft) {
  start();
  const auto busy = occupy();
  const auto waits = call(question("waits"));
  std::thread ender([&] { service_.reset(); });
  control_.release();
  ender.join();
  EXPECT_NE(busy->wait().status, 0);
  EXPECT_NE(waits->wait().status, 0);
}

TEST_F(QaServiceTest, ContradictingOptionsAreInputErrors) {
  options_.max_queue_items = 10;
  EXPECT_THROW(QaService{options_}, Error);
  options_ = {};
  options_.max_queue_chars = 100;
  EXPECT_THROW(QaService{options_}, Error);
  options_ = {};
  options_.batch_items = 0;
  EXPECT_THROW(QaService{options_}, Error);
}

}  // namespace
}  // namespace trireme::serve
