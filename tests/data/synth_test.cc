#include "trireme/data/synth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/utf8.h"
#include "trireme/data/code_points.h"
#include "trireme/data/synth_words.h"

namespace trireme::data {
namespace {

// Words of answers, subjects and sentence forms that only one part may use.
std::set<std::string_view> all_words(Words Split::*part) {
  std::set<std::string_view> out;
  const auto take = [&](const Split& split) {
    const Words& words = split.*part;
    out.insert(words.begin(), words.end());
  };
  for (auto* list :
       {&synth_first_names, &synth_last_names, &synth_town_beginnings, &synth_town_endings,
        &synth_thing_marks, &synth_things, &synth_event_marks, &synth_events}) {
    take((*list)());
  }
  for (const Relation& relation : synth_relations()) {
    take(synth_answer_words(relation.answer));
    take(relation.sentences);
    take(relation.questions);
  }
  return out;
}

TEST(SynthWords, PartsShareNoNameAnswerOrForm) {
  const std::set<std::string_view> train = all_words(&Split::train), dev = all_words(&Split::dev);
  std::vector<std::string_view> shared;
  std::set_intersection(train.begin(), train.end(), dev.begin(), dev.end(),
                        std::back_inserter(shared));
  EXPECT_THAT(shared, testing::IsEmpty());
}

TEST(SynthWords, FormsHoldWhatTheyMust) {
  for (const Relation& relation : synth_relations()) {
    for (const Words& forms : {relation.sentences.train, relation.sentences.dev}) {
      for (const std::string_view form : forms) {
        EXPECT_THAT(form, testing::HasSubstr("{S}"));
        EXPECT_THAT(form, testing::HasSubstr("{A}"));
        EXPECT_THAT(form, testing::EndsWith("."));
      }
    }
    for (const Words& forms : {relation.questions.train, relation.questions.dev}) {
      for (const std::string_view form : forms) {
        EXPECT_THAT(form, testing::HasSubstr("{S}"));
        EXPECT_THAT(form, testing::EndsWith("?"));
      }
    }
  }
}

TEST(SynthWords, AQuestionFormAsksOneThingOnly) {
  std::map<std::pair<SubjectKind, std::string_view>, const Relation*> asked;
  for (const Relation& relation : synth_relations()) {
    for (const Words& forms : {relation.questions.train, relation.questions.dev}) {
      for (const std::string_view form : forms) {
        EXPECT_TRUE(asked.try_emplace({relation.subject, form}, &relation).second) << form;
      }
    }
  }
}

// The relation that a sentence of a paragraph states and about whom, found by trying all forms.
bool states(std::string_view sentence, std::string_view form, std::string_view subject) {
  std::string head(form.substr(0, form.find("{A}"))), tail(form.substr(form.find("{A}") + 3));
  for (std::string* piece : {&head, &tail}) {
    if (const size_t at = piece->find("{S}"); at != std::string::npos) {
      piece->replace(at, 3, subject);
    }
  }
  if (!head.empty() && head[0] >= 'a' && head[0] <= 'z') head[0] = static_cast<char>(head[0] - 32);
  return sentence.size() > head.size() + tail.size() && sentence.starts_with(head) &&
         sentence.ends_with(tail);
}

std::vector<std::string_view> sentences_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(". "), text.size() - 1);
    out.push_back(text.substr(0, end + 1));
    text.remove_prefix(std::min(text.size(), end + 2));
  }
  return out;
}

// What a question asks, by its form: {relation, subject}.
std::pair<const Relation*, std::string> asked_of(std::string_view question, Words Split::*part) {
  std::pair<const Relation*, std::string> out{nullptr, ""};
  for (const Relation& relation : synth_relations()) {
    for (const std::string_view form : relation.questions.*part) {
      const std::string_view head = form.substr(0, form.find("{S}"));
      const std::string_view tail = form.substr(form.find("{S}") + 3);
      if (question.size() <= head.size() + tail.size() || !question.starts_with(head) ||
          !question.ends_with(tail)) {
        continue;
      }
      // The most specific form fits: the one that leaves the shortest subject.
      std::string subject(
          question.substr(head.size(), question.size() - head.size() - tail.size()));
      const bool thing = subject.starts_with("the ");
      const bool wants_thing =
          relation.subject == SubjectKind::kThing || relation.subject == SubjectKind::kEvent;
      if (thing != wants_thing) continue;
      if (out.first == nullptr || subject.size() < out.second.size()) {
        out = {&relation, std::move(subject)};
      }
    }
  }
  return out;
}

class SynthSet : public testing::TestWithParam<SynthPart> {
 protected:
  Words Split::*part_ = GetParam() == SynthPart::kTrain ? &Split::train : &Split::dev;
  std::vector<QaExample> set_ = make_synth(5, GetParam(), 900);
};

TEST_P(SynthSet, AThirdHasNoAnswerAndAnswersStandWhereTheySay) {
  ASSERT_EQ(set_.size(), 900U);
  int64_t impossible = 0;
  std::set<std::string> ids;
  for (const QaExample& example : set_) {
    impossible += example.is_impossible ? 1 : 0;
    EXPECT_TRUE(ids.insert(example.id).second) << example.id;
    EXPECT_EQ(example.answers.size(), example.is_impossible ? 0U : 1U);
    for (const QaAnswer& answer : example.answers) {
      const auto length = static_cast<int64_t>(count_code_points(answer.text));
      EXPECT_EQ(cut_code_points(*example.context, answer.start, answer.start + length),
                answer.text);
    }
  }
  EXPECT_EQ(impossible, 300);
}

TEST_P(SynthSet, TheParagraphStatesWhatIsAskedExactlyWhenThereIsAnAnswer) {
  for (const QaExample& example : set_) {
    const auto [relation, subject] = asked_of(example.question, part_);
    ASSERT_NE(relation, nullptr) << example.question;
    std::vector<std::string_view> stating;
    for (const std::string_view sentence : sentences_of(*example.context)) {
      const Words& forms = relation->sentences.*part_;
      if (std::any_of(forms.begin(), forms.end(),
                      [&, about = subject](auto form) { return states(sentence, form, about); })) {
        stating.push_back(sentence);
      }
    }
    ASSERT_EQ(stating.size(), example.is_impossible ? 0U : 1U) << example.question << "\n"
                                                               << *example.context;
    if (!example.is_impossible) {
      EXPECT_THAT(stating[0], testing::HasSubstr(example.answers[0].text));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, SynthSet, testing::Values(SynthPart::kTrain, SynthPart::kDev));

TEST(Synth, SeedAndPartDecideAll) {
  const auto questions = [](uint64_t seed, SynthPart part, int64_t count) {
    std::vector<std::string> out;
    for (const QaExample& example : make_synth(seed, part, count)) {
      out.push_back(example.question + *example.context);
    }
    return out;
  };
  const auto once = questions(3, SynthPart::kTrain, 40);
  EXPECT_EQ(once, questions(3, SynthPart::kTrain, 40));
  auto longer = questions(3, SynthPart::kTrain, 50);
  longer.resize(40);
  EXPECT_EQ(once, longer) << "more questions come after, the first stay";
  EXPECT_NE(once, questions(4, SynthPart::kTrain, 40));
}

TEST(Synth, WritesBothPartsAsSquadFiles) {
  std::string name = (std::filesystem::temp_directory_path() / "synth-XXXXXX").string();
  const std::string folder = mkdtemp(name.data());
  write_synth(folder + "/a/b", {.seed = 2, .train_questions = 30, .dev_questions = 6});
  const std::vector<QaExample> train = read_squad(folder + "/a/b/train.json");
  EXPECT_EQ(train.size(), 30U);
  EXPECT_EQ(read_squad(folder + "/a/b/dev.json").size(), 6U);
  EXPECT_EQ(train[7].question, make_synth(2, SynthPart::kTrain, 30)[7].question);
  std::filesystem::remove_all(folder);
}

TEST(Synth, CountsBelowZeroAreRefused) {
  EXPECT_THROW(make_synth(1, SynthPart::kDev, -1), Error);
  EXPECT_TRUE(make_synth(1, SynthPart::kDev, 0).empty());
}

}  // namespace
}  // namespace trireme::data
