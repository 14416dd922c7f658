// What is in a SQuAD file, in numbers: for `trireme data inspect`.
//
//   SquadStatistics statistics = inspect_squad("train.json", &tokenizer, {});
//   std::cout << to_table(statistics);
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "trireme/base/json.h"
#include "trireme/data/qa_windows.h"

namespace trireme::data {

// How a set of lengths is spread; all 0 for an empty set.
struct LengthSpread {
  int64_t count = 0;
  int64_t sum = 0;
  int64_t least = 0;
  int64_t median = 0;  // the lower one of two
  int64_t p95 = 0;     // 95 % are at most this long
  int64_t most = 0;

  double mean() const {
    return count == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(count);
  }
};

LengthSpread spread_of(std::span<const int32_t> lengths);

struct WindowStatistics {
  WindowOptions options;
  LengthSpread tokens;         // of windows, special tokens included; count: how many windows
  int64_t with_answer = 0;     // windows that hold the whole first answer
  int64_t questions_cut = 0;   // questions whose context needs several windows
  int64_t answers_missed = 0;  // answerable questions of which no window holds the whole answer
};

struct SquadStatistics {
  std::string file;
  int64_t articles = 0;    // runs of questions with the same title
  int64_t paragraphs = 0;  // with at least one question
  int64_t questions = 0;
  int64_t answerable = 0;
  int64_t answers = 0;                      // listed by answerable questions, all together
  LengthSpread context_chars;               // of paragraphs, in code points
  LengthSpread question_chars;              // of questions
  LengthSpread answer_chars;                // of first answers
  std::optional<WindowStatistics> windows;  // when a tokenizer was given

  double answerable_share() const;  // 0 to 1
};

// Reads the file once, in the memory of one article and a few bytes a question. Throws input_error
// as read_squad and make_qa_windows do. `tokenizer` may be null: then no windows are counted.
SquadStatistics inspect_squad(const std::string& path, const WindowTokenizer* tokenizer,
                              const WindowOptions& options);

// {"file", "articles", ..., "context_chars": {"count", "sum", "least", "mean", "median", "p95",
// "most"}, ..., "windows": {...} or absent}
Json to_json(const SquadStatistics& statistics);

// The same for people: some lines, each ended.
std::string to_table(const SquadStatistics& statistics);

}  // namespace trireme::data
