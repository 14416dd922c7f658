// Request, Exchange, Responder and Router, without a socket.
#include "trireme/serve/http.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "trireme/base/error.h"

namespace trireme::serve {
namespace {

Response dispatch(const Router& router, const std::string& method, const std::string& path) {
  const auto exchange = std::make_shared<Exchange>();
  Request request;
  request.method = method;
  request.path = path;
  router.dispatch(request, exchange);
  std::optional<Response> response = exchange->take_response();
  return response ? *response : error_response(0, "no answer");
}

Router example_router() {
  Router router;
  router.add("GET", "/thing", [](const Request& request, Responder& responder) {
    responder.send(json_response(200, {{"method", request.method}}));
  });
  router.add("POST", "/thing", [](const Request&, Responder& responder) {
    responder.send(json_response(201, {{"made", true}}));
  });
  router.add("GET", "/input", [](const Request&, Responder&) { throw input_error("x is wrong"); });
  router.add("GET", "/broken",
             [](const Request&, Responder&) { throw std::runtime_error("secret"); });
  router.add("GET", "/forgets", [](const Request&, Responder&) {});
  return router;
}

TEST(Router, FindsTheHandlerByMethodAndPath) {
  const Router router = example_router();
  EXPECT_EQ(dispatch(router, "GET", "/thing").body, R"({"method":"GET"})");
  EXPECT_EQ(dispatch(router, "POST", "/thing").status, 201);
}

TEST(Router, HeadIsServedByGet) {
  EXPECT_EQ(dispatch(example_router(), "HEAD", "/thing").body, R"({"method":"GET"})");
}

TEST(Router, UnknownPathIs404) {
  const Response response = dispatch(example_router(), "GET", "/thing/");
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.body, R"({"error":"no such path: /thing/"})");
}

TEST(Router, WrongMethodIs405WithAllow) {
  const Response response = dispatch(example_router(), "DELETE", "/thing");
  EXPECT_EQ(response.status, 405);
  ASSERT_EQ(response.headers.size(), 1U);
  EXPECT_EQ(response.headers[0].first, "Allow");
  EXPECT_EQ(response.headers[0].second, "GET, HEAD, POST");
}

TEST(Router, InputErrorIs400WithItsText) {
  const Response response = dispatch(example_router(), "GET", "/input");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.body, R"({"error":"x is wrong"})");
}

TEST(Router, OtherExceptionIs500WithoutItsText) {
  const Response response = dispatch(example_router(), "GET", "/broken");
  EXPECT_EQ(response.status, 500);
  EXPECT_EQ(response.body.find("secret"), std::string::npos);
}

TEST(Router, HandlerThatForgetsToAnswerIs500) {
  EXPECT_EQ(dispatch(example_router(), "GET", "/forgets").status, 500);
}

TEST(Router, RefusesTwoHandlersForOnePlace) {
  Router router = example_router();
  EXPECT_THROW(router.add("GET", "/thing", [](const Request&, Responder&) {}), Error);
}

TEST(Exchange, FirstAnswerCounts) {
  Exchange exchange;
  int wakes = 0;
  EXPECT_TRUE(exchange.arm([&] { ++wakes; }));
  exchange.respond(error_response(400, "first"));
  exchange.respond(error_response(401, "second"));
  EXPECT_EQ(wakes, 1);
  EXPECT_EQ(exchange.take_response()->status, 400);
  EXPECT_EQ(exchange.take_response(), std::nullopt);
}

TEST(Exchange, ArmSaysThatTheAnswerIsThere) {
  Exchange exchange;
  exchange.respond(error_response(400, "early"));
  EXPECT_FALSE(exchange.arm([] { FAIL() << "woken"; }));
}

TEST(Exchange, DisarmedIsNotWokenAndItsClientIsGone) {
  const auto exchange = std::make_shared<Exchange>();
  Responder responder(exchange);
  EXPECT_TRUE(exchange->arm([] { FAIL() << "woken"; }));
  EXPECT_FALSE(responder.client_gone());
  exchange->disarm();
  EXPECT_TRUE(responder.client_gone());
  responder.send(error_response(400, "late"));
}

TEST(Responder, MovedAwayIsNotAnswered) {
  const auto exchange = std::make_shared<Exchange>();
  {
    Responder kept(exchange);
    { Responder moved(std::move(kept)); }
    EXPECT_EQ(exchange->take_response()->status, 500);
  }
  EXPECT_EQ(exchange->take_response(), std::nullopt);
}

TEST(ErrorResponse, NamesTheField) {
  EXPECT_EQ(error_response(400, "wrong", "n_best").body, R"({"error":"wrong","field":"n_best"})");
}

TEST(JsonResponse, InvalidUtf8IsReplaced) {
  EXPECT_EQ(json_response(200, {{"a", "\xff"}}).body, "{\"a\":\"\xEF\xBF\xBD\"}");
}

}  // namespace
}  // namespace trireme::serve
