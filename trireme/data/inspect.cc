#include "trireme/data/inspect.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"
#include "trireme/data/squad.h"

namespace trireme::data {
namespace {

int32_t code_points(std::string_view text) {
  return static_cast<int32_t>(count_code_points(text));
}

// Takes the questions of a file in order, an article at a time.
class Inspector {
 public:
  Inspector(const WindowTokenizer* tokenizer, const WindowOptions& options)
      : tokenizer_(tokenizer) {
    if (tokenizer_ != nullptr) out_.windows.emplace().options = options;
  }

  void add(QaExample&& example) {
    if (article_.empty() || article_.back().title != example.title) {
      end_article();
      out_.articles += 1;
    }
    if (article_.empty() || article_.back().context != example.context) {
      context_chars_.push_back(code_points(*example.context));
    }
    question_chars_.push_back(code_points(example.question));
    if (!example.answers.empty()) {
      answer_chars_.push_back(code_points(example.answers.front().text));
      out_.answers += static_cast<int64_t>(example.answers.size());
    }
    article_.push_back(std::move(example));
  }

  SquadStatistics finish(const std::string& file) {
    end_article();
    out_.file = file;
    out_.paragraphs = static_cast<int64_t>(context_chars_.size());
    out_.questions = static_cast<int64_t>(question_chars_.size());
    out_.answerable = static_cast<int64_t>(answer_chars_.size());
    out_.context_chars = spread_of(context_chars_);
    out_.question_chars = spread_of(question_chars_);
    out_.answer_chars = spread_of(answer_chars_);
    if (out_.windows) out_.windows->tokens = spread_of(window_tokens_);
    return std::move(out_);
  }

 private:
  void end_article() {
    if (out_.windows) count_windows(*out_.windows);
    article_.clear();
  }

  void count_windows(WindowStatistics& out) {
    const std::vector<QaWindow> windows = make_qa_windows(article_, *tokenizer_, out.options);
    for (size_t begin = 0; begin < windows.size();) {
      size_t end = begin;
      bool answered = false;
      for (; end < windows.size() && windows[end].example == windows[begin].example; ++end) {
        window_tokens_.push_back(windows[end].length());
        const bool holds = windows[end].start > 0;
        out.with_answer += holds ? 1 : 0;
        answered = answered || holds;
      }
      const QaExample& example = article_[static_cast<size_t>(windows[begin].example)];
      if (end - begin > 1) out.questions_cut += 1;
      if (!example.answers.empty() && !answered) out.answers_missed += 1;
      begin = end;
    }
  }

  const WindowTokenizer* tokenizer_;
  SquadStatistics out_;
  std::vector<QaExample> article_;
  std::vector<int32_t> context_chars_, question_chars_, answer_chars_, window_tokens_;
};

Json spread_json(const LengthSpread& spread) {
  return {{"count", spread.count}, {"sum", spread.sum},       {"least", spread.least},
          {"mean", spread.mean()}, {"median", spread.median}, {"p95", spread.p95},
          {"most", spread.most}};
}

std::string count_row(std::string_view name, int64_t count, const std::string& note = "") {
  char line[96];
  std::snprintf(line, sizeof line, "%-24s %10lld", std::string(name).c_str(),
                static_cast<long long>(count));
  return line + (note.empty() ? note : "  " + note) + "\n";
}

std::string spread_row(std::string_view name, const LengthSpread& spread) {
  char line[128];
  std::snprintf(line, sizeof line, "%-24s %10lld %10.1f %10lld %10lld %10lld\n",
                std::string(name).c_str(), static_cast<long long>(spread.least), spread.mean(),
                static_cast<long long>(spread.median), static_cast<long long>(spread.p95),
                static_cast<long long>(spread.most));
  return line;
}

std::string percent(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * share);
  return text;
}

}  // namespace

LengthSpread spread_of(std::span<const int32_t> lengths) {
  LengthSpread out;
  if (lengths.empty()) return out;
  std::vector<int32_t> sorted(lengths.begin(), lengths.end());
  std::sort(sorted.begin(), sorted.end());
  out.count = static_cast<int64_t>(sorted.size());
  for (const int32_t length : sorted) out.sum += length;
  out.least = sorted.front();
  out.median = sorted[(sorted.size() - 1) / 2];
  out.p95 = sorted[(sorted.size() * 95 + 99) / 100 - 1];
  out.most = sorted.back();
  return out;
}

double SquadStatistics::answerable_share() const {
  return questions == 0 ? 0 : static_cast<double>(answerable) / static_cast<double>(questions);
}

SquadStatistics inspect_squad(const std::string& path, const WindowTokenizer* tokenizer,
                              const WindowOptions& options) {
  Inspector inspector(tokenizer, options);
  read_squad(path, {}, [&](QaExample&& example) { inspector.add(std::move(example)); });
  return inspector.finish(path);
}

Json to_json(const SquadStatistics& statistics) {
  Json out = {{"file", statistics.file},
              {"articles", statistics.articles},
              {"paragraphs", statistics.paragraphs},
              {"questions", statistics.questions},
              {"answerable", statistics.answerable},
              {"answerable_share", statistics.answerable_share()},
              {"answers", statistics.answers},
              {"context_chars", spread_json(statistics.context_chars)},
              {"question_chars", spread_json(statistics.question_chars)},
              {"answer_chars", spread_json(statistics.answer_chars)}};
  if (statistics.windows) {
    out["windows"] = {{"max_length", statistics.windows->options.max_length},
                      {"doc_stride", statistics.windows->options.doc_stride},
                      {"tokens", spread_json(statistics.windows->tokens)},
                      {"with_answer", statistics.windows->with_answer},
                      {"questions_cut", statistics.windows->questions_cut},
                      {"answers_missed", statistics.windows->answers_missed}};
  }
  return out;
}

std::string to_table(const SquadStatistics& statistics) {
  std::string out = statistics.file + "\n";
  out += count_row("articles", statistics.articles);
  out += count_row("paragraphs", statistics.paragraphs);
  out += count_row("questions", statistics.questions);
  out += count_row("  answerable", statistics.answerable, percent(statistics.answerable_share()));
  out += count_row("answers", statistics.answers);
  if (statistics.windows) {
    const WindowStatistics& windows = *statistics.windows;
    out += count_row("windows", windows.tokens.count,
                     cat("of at most ", windows.options.max_length, " tokens, sharing ",
                         windows.options.doc_stride));
    out += count_row("  with the answer", windows.with_answer);
    out += count_row("  tokens in all", windows.tokens.sum);
    out += count_row("questions cut", windows.questions_cut, "their context needs several windows");
    out += count_row("answers missed", windows.answers_missed, "no window holds the whole answer");
  }
  char head[128];
  std::snprintf(head, sizeof head, "\n%-24s %10s %10s %10s %10s %10s\n", "lengths", "least", "mean",
                "median", "95 %", "most");
  out += head;
  out += spread_row("context, characters", statistics.context_chars);
  out += spread_row("question, characters", statistics.question_chars);
  out += spread_row("answer, characters", statistics.answer_chars);
  if (statistics.windows) out += spread_row("window, tokens", statistics.windows->tokens);
  return out;
}

}  // namespace trireme::data
