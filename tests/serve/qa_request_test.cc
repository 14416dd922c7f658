// The JSON of /v1/qa.
#include "trireme/serve/qa_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trireme::serve {
namespace {

using testing::HasSubstr;

// "status field: message" of the refusal; "taken" when there is none.
std::string refusal(const std::string& body, const QaLimits& limits = {}) {
  try {
    parse_qa_request(body, limits);
    return "taken";
  } catch (const QaRequestError& error) {
    return std::to_string(error.status()) + " [" + error.field() + "] " + error.what();
  }
}

TEST(QaRequest, SingleTexts) {
  const QaRequest request =
      parse_qa_request(R"({"question": "who?", "context": "me"})", QaLimits{});
  ASSERT_EQ(request.queries.size(), 1U);
  EXPECT_EQ(request.queries[0].question, "who?");
  EXPECT_EQ(request.queries[0].context, "me");
  EXPECT_EQ(request.queries[0].n_best, 1);
  EXPECT_FALSE(request.list);
  EXPECT_EQ(request.chars, 6U);
}

TEST(QaRequest, ListsArePaired) {
  const QaRequest request = parse_qa_request(
      R"({"question": ["a", "b"], "context": ["c", "d"], "n_best": 4})", QaLimits{});
  ASSERT_EQ(request.queries.size(), 2U);
  EXPECT_EQ(request.queries[1].question, "b");
  EXPECT_EQ(request.queries[1].context, "d");
  EXPECT_EQ(request.queries[1].n_best, 4);
  EXPECT_TRUE(request.list);
}

TEST(QaRequest, ATextGoesWithEachOfAList) {
  const QaRequest questions =
      parse_qa_request(R"({"question": ["a", "b"], "context": "c"})", QaLimits{});
  ASSERT_EQ(questions.queries.size(), 2U);
  EXPECT_EQ(questions.queries[1].question, "b");
  EXPECT_EQ(questions.queries[1].context, "c");
  const QaRequest contexts =
      parse_qa_request(R"({"question": "a", "context": ["c", "d"]})", QaLimits{});
  ASSERT_EQ(contexts.queries.size(), 2U);
  EXPECT_EQ(contexts.queries[0].question, "a");
  EXPECT_EQ(contexts.queries[1].context, "d");
}

TEST(QaRequest, AListOfOneIsAList) {
  EXPECT_TRUE(parse_qa_request(R"({"question": ["a"], "context": "c"})", QaLimits{}).list);
}

TEST(QaRequest, Inputs) {
  const QaRequest list = parse_qa_request(
      R"({"inputs": [{"question": "a", "context": "b"}, {"context": "d", "question": "c"}], "n_best": 2})",
      QaLimits{});
  ASSERT_EQ(list.queries.size(), 2U);
  EXPECT_EQ(list.queries[1].question, "c");
  EXPECT_EQ(list.queries[1].context, "d");
  EXPECT_EQ(list.queries[1].n_best, 2);
  EXPECT_TRUE(list.list);
  const QaRequest single =
      parse_qa_request(R"({"inputs": {"question": "a", "context": "b"}})", QaLimits{});
  EXPECT_EQ(single.queries.size(), 1U);
  EXPECT_FALSE(single.list);
}

TEST(QaRequest, EscapesBecomeTheirCharacters) {
  const QaRequest request = parse_qa_request(
      "{\"question\": \"\\u00e9\\ud83d\\ude00\\u0000\", \"context\": \"\xF0\x9F\x98\x80!\"}",
      QaLimits{});
  EXPECT_EQ(request.queries[0].question, std::string("\xC3\xA9\xF0\x9F\x98\x80\0", 7));
  EXPECT_EQ(request.chars, 5U);
}

TEST(QaRequest, RefusesWhatIsNotJson) {
  for (const char* body :
       {"", "{", "nothing", R"({"question": "a", "context": "b"} x)",
        R"({"question": "a", "question": "b", "context": "c"})",
        "{\"question\": \"\xff\", \"context\": \"b\"}", R"({"question": "\ud800", "context": "b"})",
        R"({"question": "a", "context": "b", "n_best": 1e999})"}) {
    EXPECT_THAT(refusal(body), testing::StartsWith("400 [] body:")) << body;
  }
  EXPECT_THAT(refusal(std::string(1 << 20, '[')), testing::StartsWith("400 [] body:"));
}

TEST(QaRequest, RefusesWrongFields) {
  const auto with = [](const std::string& fields) { return refusal("{" + fields + "}"); };
  EXPECT_EQ(refusal("[]"), "400 [] the body must be a JSON object, is array");
  EXPECT_EQ(with(R"("context": "b")"), "400 [question] question: the field is missing");
  EXPECT_EQ(with(R"("question": "b")"), "400 [context] context: the field is missing");
  EXPECT_EQ(with(R"("question": "a", "context": "b", "top_k": 3)"),
            "400 [top_k] top_k: unknown field; the fields are question, context, n_best, inputs");
  EXPECT_EQ(with(R"("question": 3, "context": "b")"),
            "400 [question] question: must be a string or a list of strings, is number");
  EXPECT_EQ(with(R"("question": "a", "context": ["b", null])"),
            "400 [context[1]] context[1]: must be a string, is null");
  EXPECT_EQ(with(R"("question": "a", "context": [])"), "400 [context] context: the list is empty");
  EXPECT_EQ(with(R"("question": " \n", "context": "b")"),
            "400 [question] question: must not be blank");
  EXPECT_EQ(with(R"("question": ["a", "b"], "context": ["c"])"),
            "400 [context] context: has 1 items, question has 2; two lists must be equally long");
}

TEST(QaRequest, RefusesWrongInputs) {
  const auto with = [](const std::string& inputs) {
    return refusal("{\"inputs\": " + inputs + "}");
  };
  EXPECT_EQ(with("[]"), "400 [inputs] inputs: the list is empty");
  EXPECT_EQ(with("3"),
            "400 [inputs] inputs: must be an object with question and context, is number");
  EXPECT_EQ(with(R"([{"question": "a", "context": "b"}, "c"])"),
            "400 [inputs[1]] inputs[1]: must be an object with question and context, is string");
  EXPECT_EQ(with(R"([{"question": "a"}])"),
            "400 [inputs[0].context] inputs[0].context: the field is missing");
  EXPECT_EQ(
      with(R"([{"question": "a", "context": "b", "n_best": 2}])"),
      "400 [inputs[0].n_best] inputs[0].n_best: unknown field; the fields are question, context");
  EXPECT_EQ(with(R"([{"question": ["a"], "context": "b"}])"),
            "400 [inputs[0].question] inputs[0].question: must be a string, is array");
  EXPECT_EQ(refusal(R"({"inputs": {"question": "a", "context": "b"}, "question": "a"})"),
            "400 [question] question: unknown field; the fields are inputs, n_best");
}

TEST(QaRequest, RefusesWrongNBest) {
  for (const char* value :
       {"0", "-1", "21", "1.0", "\"3\"", "null", "true", "18446744073709551615"}) {
    EXPECT_EQ(refusal(std::string(R"({"question": "a", "context": "b", "n_best": )") + value + "}"),
              "400 [n_best] n_best: must be an integer from 1 to 20");
  }
  EXPECT_EQ(refusal(R"({"question": "a", "context": "b", "n_best": 20})"), "taken");
}

TEST(QaRequest, LimitsAreNamedAndCountCharacters) {
  const QaLimits limits{.max_items = 2, .max_question_chars = 3, .max_context_chars = 4};
  EXPECT_EQ(
      refusal("{\"question\": \"\u00e9\u00e9\u00e9\", \"context\": \"\U0001F600abc\"}", limits),
      "taken");
  EXPECT_EQ(refusal(R"({"question": "abcd", "context": "b"})", limits),
            "413 [question] question: has 4 characters; the limit is 3");
  EXPECT_EQ(refusal(R"({"inputs": [{"question": "a", "context": "12345"}]})", limits),
            "413 [inputs[0].context] inputs[0].context: has 5 characters; the limit is 4");
  EXPECT_EQ(refusal(R"({"question": ["a", "b", "c"], "context": "b"})", limits),
            "413 [question] question: has 3 items; the limit is 2");
}

TEST(QaAnswerJson, HoldsWhatTheEngineSaid) {
  QaAnswer answer;
  answer.best = {"b\"", 0.5, 1, 3};
  answer.no_answer_score = 0.25;
  answer.n_best = {answer.best, {"", 0.25, 0, 0}};
  EXPECT_EQ(dump_json(to_json(answer)),
            R"({"answer":"b\"","score":0.5,"start":1,"end":3,"no_answer_score":0.25,)"
            R"("n_best":[{"answer":"b\"","score":0.5,"start":1,"end":3},)"
            R"({"answer":"","score":0.25,"start":0,"end":0}]})");
}

}  // namespace
}  // namespace trireme::serve
