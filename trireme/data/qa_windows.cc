#include "trireme/data/qa_windows.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <iterator>
#include <string>
#include <thread>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"

namespace trireme::data {
namespace {

constexpr int32_t kSpecialTokens = 3;  // [CLS], [SEP], [SEP]

// The questions of one paragraph: its context is tokenized once.
struct Group {
  size_t begin = 0;
  size_t end = 0;
  std::vector<QaWindow> windows;
  std::exception_ptr error;
};

std::vector<Group> group_by_context(std::span<const QaExample> examples) {
  std::vector<Group> groups;
  for (size_t i = 0; i < examples.size(); ++i) {
    if (i > 0 && examples[i].context == examples[i - 1].context) {
      groups.back().end = i + 1;
    } else {
      groups.push_back({.begin = i, .end = i + 1, .windows = {}, .error = nullptr});
    }
  }
  return groups;
}

void set_label(const QaExample& example, QaWindow& window) {
  if (example.answers.empty() || window.context_tokens() == 0) return;
  const QaAnswer& answer = example.answers.front();
  const int64_t begin = answer.start;
  const int64_t end = begin + static_cast<int64_t>(count_code_points(answer.text));
  const int32_t first = window.context_begin;
  const int32_t last = first + window.context_tokens() - 1;
  if (window.offset(first).begin > begin || window.offset(last).end < end) return;
  window.start = last;
  while (window.offset(window.start).begin > begin) --window.start;
  window.end = first;
  while (window.offset(window.end).end < end) ++window.end;
  // Tokens made of the same character share its offsets.
  if (window.end < window.start) std::swap(window.start, window.end);
}

void add_windows(const QaExample& example, int64_t index, const std::vector<int32_t>& context_ids,
                 const std::shared_ptr<const std::vector<TextSpan>>& offsets,
                 const WindowTokenizer& tokenizer, const WindowOptions& options,
                 std::vector<QaWindow>& out) {
  const std::vector<int32_t> question = tokenizer.encode(example.question).ids;
  const int64_t room =
      int64_t{options.max_length} - kSpecialTokens - static_cast<int64_t>(question.size());
  const auto context_tokens = static_cast<int64_t>(context_ids.size());
  if (context_tokens > room && room <= options.doc_stride) {
    throw input_error("question '", example.id, "' has ", question.size(),
                      " tokens and leaves too little room for its context: with a window of ",
                      options.max_length, " tokens and a stride of ", options.doc_stride,
                      " a question may have ",
                      options.max_length - kSpecialTokens - options.doc_stride - 1);
  }
  const int64_t count = count_windows(context_tokens, room, options.doc_stride);
  if (options.max_windows > 0 && count > options.max_windows) {
    throw input_error("question '", example.id, "' has ", question.size(),
                      " tokens and its context ", context_tokens, ": that makes ", count,
                      " windows of ", options.max_length, " tokens, and ", options.max_windows,
                      " are the limit; shorten either");
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t begin = i * (room - options.doc_stride);
    const int64_t end = std::min(begin + room, context_tokens);
    QaWindow window;
    window.example = index;
    window.ids.reserve(kSpecialTokens + question.size() + (end - begin));
    window.ids.push_back(tokenizer.cls_id);
    window.ids.insert(window.ids.end(), question.begin(), question.end());
    window.ids.push_back(tokenizer.sep_id);
    window.context_begin = window.length();
    window.ids.insert(window.ids.end(), context_ids.begin() + begin, context_ids.begin() + end);
    window.ids.push_back(tokenizer.sep_id);
    window.context_offsets = offsets;
    window.first_context_token = static_cast<int32_t>(begin);
    set_label(example, window);
    out.push_back(std::move(window));
  }
}

void fill(Group& group, std::span<const QaExample> examples, const WindowTokenizer& tokenizer,
          const WindowOptions& options) {
  TokenizedText context = tokenizer.encode(*examples[group.begin].context);
  const auto offsets = std::make_shared<const std::vector<TextSpan>>(std::move(context.offsets));
  for (size_t i = group.begin; i < group.end; ++i) {
    add_windows(examples[i], static_cast<int64_t>(i), context.ids, offsets, tokenizer, options,
                group.windows);
  }
}

// Fills all groups; throws what the first group in order threw, whichever thread came first.
void fill_all(std::vector<Group>& groups, std::span<const QaExample> examples,
              const WindowTokenizer& tokenizer, const WindowOptions& options) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < groups.size(); i = next++) {
      try {
        fill(groups[i], examples, tokenizer, options);
      } catch (...) {
        groups[i].error = std::current_exception();
      }
    }
  };
  const size_t wanted = options.threads > 0 ? options.threads : std::thread::hardware_concurrency();
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < std::min(wanted, groups.size()); ++i) helpers.emplace_back(work);
  work();
  helpers.clear();  // joins
  for (const Group& group : groups) {
    if (group.error) std::rethrow_exception(group.error);
  }
}

}  // namespace

int64_t count_windows(int64_t context_tokens, int64_t room, int64_t doc_stride) {
  if (context_tokens <= room) return 1;
  const int64_t step = room - doc_stride;
  return 1 + (context_tokens - room + step - 1) / step;
}

std::vector<QaWindow> make_qa_windows(std::span<const QaExample> examples,
                                      const WindowTokenizer& tokenizer,
                                      const WindowOptions& options) {
  if (options.doc_stride < 0 || options.max_length - kSpecialTokens <= options.doc_stride) {
    throw input_error("windows of ", options.max_length, " tokens with a stride of ",
                      options.doc_stride, ": the stride must be at least 0 and leave room (",
                      kSpecialTokens, " tokens of a window are special)");
  }
  std::vector<Group> groups = group_by_context(examples);
  fill_all(groups, examples, tokenizer, options);
  std::vector<QaWindow> out;
  for (Group& group : groups) {
    std::move(group.windows.begin(), group.windows.end(), std::back_inserter(out));
  }
  return out;
}

std::vector<int32_t> window_lengths(std::span<const QaWindow> windows) {
  std::vector<int32_t> out;
  out.reserve(windows.size());
  for (const QaWindow& window : windows) out.push_back(window.length());
  return out;
}

}  // namespace trireme::data
