// SQuAD 1.1 and 2.0 files: questions about paragraphs, answered by spans of them or not at all
// (Rajpurkar, Jia, Liang 2018; the format of the official files).
//
//   std::vector<QaExample> examples = read_squad("train.json");
//   read_squad("train.json", {}, [&](QaExample&& example) { ... });  // memory of one article
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::data {

struct QaAnswer {
  std::string text;
  int64_t start = 0;  // where it begins in the context, in code points

  bool operator==(const QaAnswer&) const = default;
};

struct QaExample {
  std::string id;
  std::string question;                        // without leading white space
  std::shared_ptr<const std::string> context;  // the questions of a paragraph share it
  std::vector<QaAnswer> answers;               // empty: the paragraph does not answer it
  bool is_impossible = false;
  std::string title;  // of the article
};

struct SquadOptions {
  bool answerable_only = false;   // drop the questions that have no answer
  bool answers_optional = false;  // for prediction: a question may have no "answers" key
};

// Calls `sink` for every question in the order of the file; holds one article at a time.
// Throws input_error, naming file, line, article, paragraph and question as far as known: no such
// file, not JSON, not UTF-8, a key missing or of a wrong type, an answer that its context does not
// hold at `answer_start`, an id twice, no question at all (or none that is answerable, if only
// those are wanted). A question that says is_impossible keeps no answers; one that says neither
// (SQuAD 1.1) is impossible when it lists none. "plausible_answers" and unknown keys are ignored.
void read_squad(const std::string& path, const SquadOptions& options,
                const std::function<void(QaExample&&)>& sink);

std::vector<QaExample> read_squad(const std::string& path, const SquadOptions& options = {});

// The same from memory; `name` stands for the file in messages.
void parse_squad(std::string_view text, const std::string& name, const SquadOptions& options,
                 const std::function<void(QaExample&&)>& sink);

// Writes a SQuAD 2.0 file: neighbours with the same context (the same object) form a paragraph,
// neighbours with the same title an article. The file is replaced atomically.
void write_squad(const std::string& path, std::span<const QaExample> examples);

// The official format of predictions, {"id": "text", ...}: "" says that there is no answer.
// Files are replaced atomically; reading throws input_error for anything else than such an object.
void write_predictions(const std::string& path, const std::map<std::string, std::string>& texts);
std::map<std::string, std::string> read_predictions(const std::string& path);

// The same for null odds, {"id": score, ...}: how much better "no answer" scores than the best
// answer. Infinite odds (nothing but "no answer" was possible) are written as +-1e30.
void write_null_odds(const std::string& path, const std::map<std::string, double>& odds);

}  // namespace trireme::data
