#include "trireme/data/synth.h"

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/random.h"
#include "trireme/base/utf8.h"
#include "trireme/data/synth_words.h"

namespace trireme::data {
namespace {

constexpr int kQuestionsAParagraph = 6;  // every third has no answer
constexpr int kParagraphsAnArticle = 5;
constexpr int kSharedFacts = 2;  // that both subjects of the main kind have; each has one more

const Words& part_of(const Split& split, SynthPart part) {
  return part == SynthPart::kTrain ? split.train : split.dev;
}

// The draws of one paragraph.
class Draw {
 public:
  Draw(uint64_t seed, SynthPart part, int64_t paragraph)
      : seed_(mix_seeds(seed, hash_name(part == SynthPart::kTrain ? "synth.train" : "synth.dev"))),
        paragraph_(static_cast<uint64_t>(paragraph)) {}

  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(uniform_below(high - low + 1, seed_, paragraph_, next_++));
  }
  template <class T>
  const T& one_of(const std::vector<T>& list) {
    return list[between(0, static_cast<int64_t>(list.size()) - 1)];
  }
  template <class T>
  void shuffle(std::vector<T>& list) {
    for (size_t i = list.size(); i > 1; --i) {
      std::swap(list[i - 1], list[between(0, static_cast<int64_t>(i) - 1)]);
    }
  }

 private:
  uint64_t seed_;
  uint64_t paragraph_;
  uint64_t next_ = 0;
};

// "3200" as "3,200".
std::string with_commas(int64_t number) {
  std::string out = std::to_string(number);
  for (auto at = static_cast<int64_t>(out.size()) - 3; at > 0; at -= 3) out.insert(at, 1, ',');
  return out;
}

struct Sentence {
  std::string text;
  size_t answer_at = 0;  // byte
};

Sentence fill_in(std::string_view form, std::string_view subject, std::string_view answer) {
  Sentence out;
  for (size_t at = 0; at < form.size();) {
    if (form.substr(at, 3) == "{S}") {
      out.text += subject;
      at += 3;
    } else if (form.substr(at, 3) == "{A}") {
      out.answer_at = out.text.size();
      out.text += answer;
      at += 3;
    } else {
      out.text += form[at++];
    }
  }
  char& first = out.text.front();
  if (first >= 'a' && first <= 'z') first = static_cast<char>(first - 'a' + 'A');
  return out;
}

struct Fact {
  const Relation* relation = nullptr;
  std::string subject;
  std::string answer;
  size_t answer_at = 0;  // byte in the paragraph
};

// A fact that is not stated.
struct Gap {
  const Relation* relation = nullptr;
  std::string subject;
};

class Paragraph {
 public:
  Paragraph(uint64_t seed, SynthPart part, int64_t number)
      : part_(part), draw_(seed, part, number) {
    const auto main = static_cast<SubjectKind>(draw_.between(0, kSubjectKinds - 1));
    const auto other = static_cast<SubjectKind>(
        (static_cast<int>(main) + draw_.between(1, kSubjectKinds - 1)) % kSubjectKinds);
    add_pair(main);
    add_single(other);
    write();
    draw_.shuffle(facts_);
    draw_.shuffle(gaps_);
  }

  // Question i of this paragraph, without id, context and title.
  QaExample question(int i) {
    QaExample out;
    out.is_impossible = i % 3 == 2;
    if (out.is_impossible) {
      const Gap& gap = gaps_.at(i / 3);
      out.question = ask(*gap.relation, gap.subject);
    } else {
      const Fact& fact = facts_.at(i - i / 3);
      out.question = ask(*fact.relation, fact.subject);
      const auto before = std::string_view(text_).substr(0, fact.answer_at);
      out.answers.push_back({fact.answer, static_cast<int64_t>(count_code_points(before))});
    }
    return out;
  }

  const std::string& text() const { return text_; }

 private:
  std::vector<const Relation*> relations_of(SubjectKind kind) {
    std::vector<const Relation*> out;
    for (const Relation& relation : synth_relations()) {
      if (relation.subject == kind) out.push_back(&relation);
    }
    draw_.shuffle(out);
    return out;
  }

  // Two subjects of a kind: facts of the same sort about both, and one of each that is not told
  // of the other.
  void add_pair(SubjectKind kind) {
    const std::string first = subject(kind), second = subject(kind);
    const std::vector<const Relation*> relations = relations_of(kind);
    for (int i = 0; i < kSharedFacts; ++i) {
      state(*relations[i], first);
      state(*relations[i], second);
    }
    const Relation& of_first = *relations[kSharedFacts];
    const Relation& of_second = *relations[kSharedFacts + 1];
    state(of_first, first);
    state(of_second, second);
    gaps_.push_back({&of_first, second});
    gaps_.push_back({&of_second, first});
    for (size_t i = kSharedFacts + 2; i < relations.size(); ++i) {
      gaps_.push_back({relations[i], draw_.between(0, 1) == 0 ? first : second});
    }
  }

  void add_single(SubjectKind kind) {
    const std::string name = subject(kind);
    const std::vector<const Relation*> relations = relations_of(kind);
    state(*relations[0], name);
    state(*relations[1], name);
    gaps_.push_back({relations[2], name});
  }

  void state(const Relation& relation, const std::string& name) {
    facts_.push_back({.relation = &relation, .subject = name, .answer = answer(relation.answer)});
  }

  void write() {
    draw_.shuffle(facts_);
    for (Fact& fact : facts_) {
      if (!text_.empty()) text_ += ' ';
      const std::string_view form = draw_.one_of(part_of(fact.relation->sentences, part_));
      const Sentence sentence = fill_in(form, fact.subject, fact.answer);
      fact.answer_at = text_.size() + sentence.answer_at;
      text_ += sentence.text;
    }
  }

  std::string ask(const Relation& relation, const std::string& name) {
    return fill_in(draw_.one_of(part_of(relation.questions, part_)), name, "").text;
  }

  // A word that this paragraph does not use yet.
  std::string word(const Split& split) {
    std::string out;
    do {
      out = draw_.one_of(part_of(split, part_));
    } while (!used_.insert(out).second);
    return out;
  }

  std::string person() { return word(synth_first_names()) + " " + word(synth_last_names()); }
  std::string town() {
    return word(synth_town_beginnings()) +
           std::string(draw_.one_of(part_of(synth_town_endings(), part_)));
  }

  std::string subject(SubjectKind kind) {
    switch (kind) {
      case SubjectKind::kPerson:
        return person();
      case SubjectKind::kTown:
        return town();
      case SubjectKind::kThing:
        return "the " + word(synth_thing_marks()) + " " + word(synth_things());
      case SubjectKind::kEvent:
        return "the " + word(synth_event_marks()) + " " + word(synth_events());
    }
    return "";
  }

  std::string number_or_word(AnswerKind kind) {
    static const std::vector<std::string> months = {
        "January", "February", "March",     "April",   "May",      "June",
        "July",    "August",   "September", "October", "November", "December"};
    switch (kind) {
      case AnswerKind::kYear:
        return std::to_string(draw_.between(1401, 1999));
      case AnswerKind::kDate:
        return std::to_string(draw_.between(1, 28)) + " " + draw_.one_of(months);
      case AnswerKind::kCount:
        return with_commas(100 * draw_.between(4, 999));
      case AnswerKind::kWeight:
        return std::to_string(draw_.between(12, 390)) + " pounds";
      case AnswerKind::kPrice:
        return with_commas(50 * draw_.between(4, 999)) + " dollars";
      default:
        return std::string(draw_.one_of(part_of(synth_answer_words(kind), part_)));
    }
  }

  std::string answer(AnswerKind kind) {
    if (kind == AnswerKind::kPerson) return person();
    if (kind == AnswerKind::kTown) return town();
    std::string out;
    do {
      out = number_or_word(kind);
    } while (!used_.insert(out).second);
    return out;
  }

  SynthPart part_;
  Draw draw_;
  std::set<std::string> used_;
  std::vector<Fact> facts_;
  std::vector<Gap> gaps_;
  std::string text_;
};

}  // namespace

std::vector<QaExample> make_synth(uint64_t seed, SynthPart part, int64_t questions) {
  if (questions < 0) throw input_error("cannot make ", questions, " questions");
  const std::string name = part == SynthPart::kTrain ? "train" : "dev";
  std::vector<QaExample> out;
  for (int64_t number = 0; static_cast<int64_t>(out.size()) < questions; ++number) {
    Paragraph paragraph(seed, part, number);
    const auto context = std::make_shared<const std::string>(paragraph.text());
    for (int i = 0; i < kQuestionsAParagraph && static_cast<int64_t>(out.size()) < questions; ++i) {
      QaExample example = paragraph.question(i);
      example.id = cat("synth-", seed, "-", name, "-", out.size() + 1);
      example.context = context;
      example.title = cat("Notes ", number / kParagraphsAnArticle + 1);
      out.push_back(std::move(example));
    }
  }
  return out;
}

void write_synth(const std::string& folder, const SynthOptions& options) {
  ensure_dir(folder);
  write_squad(folder + "/train.json",
              make_synth(options.seed, SynthPart::kTrain, options.train_questions));
  write_squad(folder + "/dev.json",
              make_synth(options.seed, SynthPart::kDev, options.dev_questions));
}

}  // namespace trireme::data
