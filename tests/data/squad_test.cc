#include "trireme/data/squad.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"

namespace trireme::data {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::vector<QaExample> parse(std::string_view text, const SquadOptions& options = {}) {
  std::vector<QaExample> out;
  parse_squad(text, "file.json", options, [&](QaExample&& e) { out.push_back(std::move(e)); });
  return out;
}

std::string message_of(std::string_view text, const SquadOptions& options = {}) {
  try {
    parse(text, options);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    EXPECT_THAT(e.what(), Not(HasSubstr("json.exception")));
    EXPECT_THAT(e.what(), Not(HasSubstr("\n")));
    return e.what();
  }
  return "no error";
}

// A file of one paragraph "The cat sat." with this list of questions.
std::string file_with(const std::string& qas) {
  return R"({"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"qas": [)" + qas +
         R"(], "context": "The cat sat."}]}]})";
}

constexpr char kGood[] = R"({"id": "1", "question": "Who sat?", "is_impossible": false,
                             "answers": [{"text": "cat", "answer_start": 4}]})";

TEST(Squad, ReadsQuestionsInOrderWithAllTheirParts) {
  const std::vector<QaExample> got = parse(R"({
    "version": "v2.0",
    "data": [
      {"title": "First", "paragraphs": [
        {"context": "Ünïcode 🚀 rocket flies.", "qas": [
          {"id": "a", "question": " \t\u00a0What flies? ", "is_impossible": false, "answers": [
            {"text": "rocket", "answer_start": 10}, {"text": "🚀 rocket", "answer_start": 8}]},
          {"id": "b", "question": "Who?", "is_impossible": true, "answers": [],
           "plausible_answers": [{"text": "rocket", "answer_start": 999}]}]}]},
      {"paragraphs": [{"context": "X", "qas": []}], "title": "No questions"},
      {"paragraphs": [
        {"qas": [{"question": "y?", "id": 17, "answers": [{"answer_start": 0, "text": "Y"}]}],
         "context": "Y is."}], "title": "Title comes last"}
    ]})");
  ASSERT_EQ(got.size(), 3U);
  EXPECT_EQ(got[0].id, "a");
  EXPECT_EQ(got[0].question, "What flies? ");
  EXPECT_EQ(*got[0].context, "Ünïcode 🚀 rocket flies.");
  EXPECT_EQ(got[0].answers, (std::vector<QaAnswer>{{"rocket", 10}, {"🚀 rocket", 8}}));
  EXPECT_FALSE(got[0].is_impossible);
  EXPECT_EQ(got[0].title, "First");
  EXPECT_TRUE(got[1].is_impossible);
  EXPECT_TRUE(got[1].answers.empty());
  EXPECT_EQ(got[0].context, got[1].context);  // shared, not copied
  EXPECT_EQ(got[2].id, "17");
  EXPECT_EQ(got[2].title, "Title comes last");
  EXPECT_FALSE(got[2].is_impossible);  // SQuAD 1.1 says nothing
}

TEST(Squad, AnswerableOnlyDropsTheOthers) {
  const std::string text =
      file_with(std::string(kGood) +
                R"(, {"id": "2", "question": "q", "is_impossible": true, "answers": []})");
  EXPECT_EQ(parse(text).size(), 2U);
  const auto kept = parse(text, {.answerable_only = true});
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(kept[0].id, "1");
}

TEST(Squad, ImpossibleQuestionsKeepNoAnswers) {
  const auto got = parse(file_with(R"({"id": "1", "question": "q", "is_impossible": true,
                                       "answers": [{"text": "cat", "answer_start": 4}]})"));
  EXPECT_TRUE(got.at(0).answers.empty());
}

TEST(Squad, QuestionsOfOldFilesWithoutAnswersAreImpossible) {
  const auto got = parse(file_with(R"({"id": "1", "question": "q", "answers": []})"));
  EXPECT_TRUE(got.at(0).is_impossible);
}

TEST(Squad, PredictionTakesQuestionsWithoutAnswers) {
  const std::string text = file_with(R"({"id": "1", "question": "q"})");
  EXPECT_EQ(parse(text, {.answers_optional = true}).size(), 1U);
  EXPECT_THAT(message_of(text), HasSubstr("\"answers\" is missing"));
}

TEST(Squad, OtherTopLevelKeysAreSkipped) {
  const std::string text = R"({"extra": [{"paragraphs": 3}], "data": [{"title": "T", "paragraphs":
    [{"context": "The cat sat.", "qas": [)" +
                           std::string(kGood) + R"(]}]}], "more": {"data": 1}})";
  EXPECT_EQ(parse(text).size(), 1U);
}

TEST(Squad, WrongOffsetNamesIdFindingAndPlace) {
  const std::string message = message_of(
      R"({"data": [{"title": "Cats", "paragraphs": [
{"context": "The cat sat.", "qas": [
{"id": "ok", "question": "q", "answers": []},
{"id": "bad", "question": "q",
 "answers": [{"text": "cat", "answer_start": 3}]}]}]}]})");
  EXPECT_THAT(message, StartsWith("file.json:4: article 1 \"Cats\", paragraph 1, question 2 (id "
                                  "\"bad\"): answer \"cat\" is not at \"answer_start\" 3"));
  EXPECT_THAT(message, HasSubstr("there stands \" ca\""));
  EXPECT_THAT(message, HasSubstr("it stands at 4"));
}

TEST(Squad, OffsetsAreCodePointsNotBytes) {
  const auto qa = [](int start) {
    return R"({"data": [{"title": "T", "paragraphs": [{"context": "äöü🚀 cat", "qas": [
      {"id": "1", "question": "q", "answers": [{"text": "cat", "answer_start": )" +
           std::to_string(start) + "}]}]}]}]}";
  };
  EXPECT_EQ(parse(qa(5)).size(), 1U);
  EXPECT_THAT(message_of(qa(11)), HasSubstr("the context has 8 characters"));  // its byte
}

struct Malformed {
  std::string text;
  std::string says;  // a part of the message
};

class MalformedSquad : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedSquad, IsRefusedByName) {
  const std::string message = message_of(GetParam().text);
  EXPECT_THAT(message, HasSubstr(GetParam().says)) << GetParam().text;
  EXPECT_THAT(message, HasSubstr("file.json"));
}

TEST(Squad, DeepNestingIsRefusedWhereItStands) {
  const auto file = [](size_t depth) {
    return R"({"data": [{"title": "T", "paragraphs": []},)"
           "\n"
           R"({"paragraphs": [], "title": )" +
           std::string(depth, '[') + std::string(depth, ']') + "}]}";
  };
  EXPECT_EQ(message_of(file(100'000)), "file.json:2: article 2: nested deeper than 128 levels");
  EXPECT_THAT(message_of(file(100)), HasSubstr("\"title\" must be text"));
}

std::string answer(const std::string& fields) {
  return file_with(R"({"id": "1", "question": "q", "answers": [)" + fields + "]}");
}

INSTANTIATE_TEST_SUITE_P(
    Files, MalformedSquad,
    testing::Values(
        Malformed{"", "file.json:1: not valid JSON"},
        Malformed{"  \n\t\n ", "file.json:3: not valid"}, Malformed{"{", "not valid JSON"},
        Malformed{R"({"data": [)", "not valid JSON"},
        Malformed{file_with(kGood) + "x", "not valid JSON"},
        Malformed{"{\"data\": [\n{\"title\": tru}]}", "file.json:2: not valid JSON"},
        Malformed{"{\"data\": [{\"title\": \"\xff\"}]}", "not valid JSON"},
        Malformed{R"({"data": [{"title": "\ud800"}]})", "not valid JSON"},
        Malformed{file_with(kGood) + '\0' + "behind", "file.json:2: not valid JSON: a NUL byte"},
        Malformed{std::string("{\"data\":\n [\0]}", 14), "file.json:2: not valid JSON: a NUL byte"},
        Malformed{R"({"version": )" + std::string(100'000, '['),
                  "file.json:1: nested deeper than 128 levels"},
        Malformed{"[]", "the top level must be an object"},
        Malformed{"3", "the top level must be an object"},
        Malformed{"null", "the top level must be an object"}, Malformed{"{}", "no \"data\" list"},
        Malformed{R"({"version": "v2.0"})", "no \"data\" list"},
        Malformed{R"({"data": {}})", "\"data\" must be a list"},
        Malformed{R"({"data": null})", "\"data\" must be a list"},
        Malformed{R"({"data": "x"})", "\"data\" must be a list"},
        Malformed{R"({"data": [], "data": []})", "a second \"data\" list"},
        Malformed{R"({"data": []})", "no questions in file.json"},
        Malformed{R"({"data": [{"title": "T", "paragraphs": []}]})", "no questions in file.json"},
        Malformed{file_with(""), "no questions in file.json"},
        Malformed{R"({"data": [1]})", "article 1: must be an object"},
        Malformed{R"({"data": [[]]})", "article 1: must be an object"},
        Malformed{R"({"data": [{}]})", "key \"paragraphs\" is missing"},
        Malformed{R"({"data": [{"title": 3, "paragraphs": []}]})", "\"title\" must be text, not 3"},
        Malformed{R"({"data": [{"paragraphs": {"a": {"b": {}}}}]})",
                  "\"paragraphs\" must be a list"},
        Malformed{R"({"data": [{"paragraphs": [7]}]})", "paragraph 1: must be an object"},
        Malformed{R"({"data": [{"paragraphs": [{"qas": []}]}]})", "key \"context\" is missing"},
        Malformed{R"({"data": [{"paragraphs": [{"context": "c"}]}]})", "key \"qas\" is missing"},
        Malformed{R"({"data": [{"paragraphs": [{"context": 1, "qas": []}]}]})",
                  "\"context\" must be text"},
        Malformed{file_with("3"), "question 1: must be an object"},
        Malformed{file_with("[]"), "question 1: must be an object"},
        Malformed{file_with(R"({"question": "q", "answers": []})"), "key \"id\" is missing"},
        Malformed{file_with(R"({"id": 1.5, "question": "q", "answers": []})"),
                  "\"id\" must be text"},
        Malformed{file_with(R"({"id": "1", "answers": []})"), "(id \"1\"): key \"question\" is"},
        Malformed{file_with(R"({"id": "1", "question": null, "answers": []})"), "not null"},
        Malformed{file_with(R"({"id": "1", "question": "q", "is_impossible": 0, "answers": []})"),
                  "\"is_impossible\" must be true or false"},
        Malformed{file_with(R"({"id": "1", "question": "q", "is_impossible": false})"),
                  "\"answers\" is missing"},
        Malformed{
            file_with(R"({"id": "1", "question": "q", "is_impossible": false, "answers": []})"),
            "\"is_impossible\" is false, but \"answers\" is empty"},
        Malformed{file_with(R"({"id": "1", "question": "q", "answers": {}})"),
                  "\"answers\" must be a list"},
        Malformed{answer("\"cat\""), "an answer must be an object"},
        Malformed{answer(R"({"answer_start": 4})"), "key \"text\" is missing"},
        Malformed{answer(R"({"text": "cat"})"), "key \"answer_start\" is missing"},
        Malformed{answer(R"({"text": "", "answer_start": 4})"), "\"text\" is empty"},
        Malformed{answer(R"({"text": "cat", "answer_start": "4"})"), "must be a whole number"},
        Malformed{answer(R"({"text": "cat", "answer_start": 4.0})"), "must be a whole number"},
        Malformed{answer(R"({"text": "cat", "answer_start": -1})"), "\"answer_start\" -1"},
        Malformed{answer(R"({"text": "cat", "answer_start": 13})"), "context has 12 characters"},
        Malformed{answer(R"({"text": "cat", "answer_start": 18446744073709551615})"),
                  "context has 12 characters"},
        Malformed{answer(R"({"text": "sat.!", "answer_start": 8})"),
                  "the context holds it nowhere"},
        Malformed{file_with(std::string(kGood) + "," + kGood), "occurs a second time"}));

TEST(Squad, EmptyAndUnansweredSetsAreNamed) {
  EXPECT_THAT(message_of(file_with(R"({"id": "1", "question": "q", "answers": []})"),
                         {.answerable_only = true}),
              HasSubstr("no answerable questions in file.json (1 without an answer)"));
}

TEST(Squad, LongTokensAreCutInMessages) {
  const std::string text = R"({"data": [{"title": ")" + std::string(100000, 'x');
  EXPECT_LT(message_of(text).size(), 500U);
  EXPECT_LT(message_of(file_with(R"({"id": ")" + std::string(100000, 'x') + R"("})")).size(), 500U);
}

TEST(Squad, EveryCutOfAGoodFileIsRefused) {
  const std::string text = file_with(kGood);
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(message_of(text.substr(0, size)), "no error") << size;
  }
}

TEST(Squad, ArticlesAreHandedOverAsTheyAreRead) {
  // The second article is broken: the first has been delivered by then.
  std::vector<std::string> ids;
  const std::string text = R"({"data": [{"title": "T", "paragraphs": [{"context": "The cat sat.",
    "qas": [)" + std::string(kGood) +
                           R"(]}]}, {"title": 3}]})";
  EXPECT_THROW(parse_squad(text, "f", {}, [&](QaExample&& e) { ids.push_back(e.id); }), Error);
  EXPECT_EQ(ids, std::vector<std::string>{"1"});
}

class SquadFiles : public testing::Test {
 protected:
  SquadFiles() {
    std::string name = testing::TempDir() + "squad-XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~SquadFiles() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

TEST_F(SquadFiles, MissingFileAndFolderAreNamed) {
  write_file_atomic(path("a.json"), "");
  for (const std::string& bad :
       {path("none.json"), folder_, path(std::string(300, 'n')), path("a.json/b.json")}) {
    try {
      read_squad(bad);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      EXPECT_THAT(e.what(), HasSubstr(bad));
    }
  }
}

TEST_F(SquadFiles, ReadsFromDisk) {
  write_file_atomic(path("a.json"), file_with(kGood));
  EXPECT_EQ(read_squad(path("a.json")).at(0).question, "Who sat?");
}

TEST_F(SquadFiles, QuestionsComeBackAsWritten) {
  const auto first = std::make_shared<const std::string>("The \"cat\" 🚀 sat\n here.");
  const auto second = std::make_shared<const std::string>("");
  const std::vector<QaExample> written = {
      {"1", "Who sat?", first, {{"cat", 5}, {"The \"cat\"", 0}}, false, "Cats"},
      {"2", "Where?", first, {{"here", 17}}, false, "Cats"},
      {"3", "When?", second, {}, true, "Cats"},
      {"4", "Why?", second, {}, true, "ü"}};
  write_squad(path("w.json"), written);
  const std::vector<QaExample> read = read_squad(path("w.json"));
  ASSERT_EQ(read.size(), written.size());
  for (size_t i = 0; i < read.size(); ++i) {
    EXPECT_EQ(read[i].id, written[i].id);
    EXPECT_EQ(read[i].question, written[i].question);
    EXPECT_EQ(*read[i].context, *written[i].context);
    EXPECT_EQ(read[i].answers, written[i].answers);
    EXPECT_EQ(read[i].is_impossible, written[i].is_impossible);
    EXPECT_EQ(read[i].title, written[i].title);
  }
  EXPECT_EQ(read[0].context, read[1].context) << "one paragraph";
  EXPECT_NE(read[2].context, read[3].context) << "another article";
}

TEST_F(SquadFiles, PredictionsComeBackAsWritten) {
  const std::map<std::string, std::string> texts = {{"1", ""}, {"a\"b", "ü🚀\n"}};
  write_predictions(path("p.json"), texts);
  EXPECT_EQ(read_predictions(path("p.json")), texts);
  const double infinity = std::numeric_limits<double>::infinity();
  write_null_odds(path("o.json"), {{"1", -1.25}, {"2", 0.1}, {"3", infinity}});
  EXPECT_EQ(read_json_file(path("o.json")), (Json{{"1", -1.25}, {"2", 0.1}, {"3", 1e30}}));
}

TEST_F(SquadFiles, WrongPredictionFilesAreRefused) {
  for (const char* text : {"", "[]", R"({"a": 1})", R"({"a": "x", "a": "y"})", R"({"a": "x")"}) {
    write_file_atomic(path("p.json"), text);
    EXPECT_THROW(read_predictions(path("p.json")), Error) << text;
  }
}

TEST(SquadRealData, CountsOfTheSharedFiles) {
  const char* set = std::getenv("TRIREME_SHARED_DATA");
  const std::string folder =
      set != nullptr ? set : std::string(TRIREME_SOURCE_DIR) + "/../shared/data";
  if (!file_exists(folder + "/squad2/train.json")) {
    GTEST_SKIP() << "no " << folder << "/squad2/train.json (set TRIREME_SHARED_DATA)";
  }
  EXPECT_EQ(read_squad(folder + "/squad2/train.json").size(), 4173U);
  EXPECT_EQ(read_squad(folder + "/squad2/train.json", {.answerable_only = true}).size(), 1979U);
  EXPECT_EQ(read_squad(folder + "/squad2/dev.json").size(), 1070U);
  EXPECT_EQ(read_squad(folder + "/squad2/dev.json", {.answerable_only = true}).size(), 514U);
}

}  // namespace
}  // namespace trireme::data
