// From questions to model inputs: [CLS] question [SEP] part of the context [SEP]. A context that
// does not fit gives several windows, each beginning so that it shares `doc_stride` context tokens
// with the one before (the question is never cut): the same windows as the PyPI package
// `tokenizers` makes with truncation "only_second" and that stride.
//
//   std::vector<QaWindow> windows = make_qa_windows(examples, window_tokenizer(tokenizer), {});
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "trireme/data/squad.h"

namespace trireme::data {

// Code points [begin, end) of a text.
struct TextSpan {
  int32_t begin = 0;
  int32_t end = 0;

  bool operator==(const TextSpan&) const = default;
};

struct TokenizedText {
  std::vector<int32_t> ids;
  std::vector<TextSpan> offsets;  // of each token, rising
};

// All that windows need of a tokenizer.
struct WindowTokenizer {
  std::function<TokenizedText(std::string_view)> encode;  // no special tokens; called from threads
  int32_t cls_id = 0;
  int32_t sep_id = 0;
};

struct WindowOptions {
  int32_t max_length = 384;  // tokens of a window, the three special ones included
  int32_t doc_stride = 128;  // context tokens that neighbouring windows share
  int64_t max_windows = 0;  // of one question; more are refused before they are made; 0: any number
  int threads = 0;          // 0: as many as the machine has
};

struct QaWindow {
  int64_t example = 0;       // index of its question
  std::vector<int32_t> ids;  // [length]
  // Context tokens are ids[context_begin] .. ids[length - 2]; token type 1 begins there.
  int32_t context_begin = 0;
  // The label: first and last token of the first answer, or 0 and 0 ([CLS]) when the window does
  // not hold the whole of it.
  int32_t start = 0;
  int32_t end = 0;

  int32_t length() const { return static_cast<int32_t>(ids.size()); }
  int32_t context_tokens() const { return length() - 1 - context_begin; }
  bool is_context(int32_t token) const {
    return token >= context_begin && token < context_begin + context_tokens();
  }
  // Where a context token stands in the example's context.
  TextSpan offset(int32_t token) const {
    return (*context_offsets)[first_context_token + (token - context_begin)];
  }

  std::shared_ptr<const std::vector<TextSpan>> context_offsets;  // of the whole context
  int32_t first_context_token = 0;                               // of this window, among those
};

// Windows of a context when each takes up to `room` of its tokens and shares `doc_stride` < room of
// them with the one before.
int64_t count_windows(int64_t context_tokens, int64_t room, int64_t doc_stride);

// Windows of all examples, in their order; the same whatever the number of threads. Throws
// input_error for a question that leaves no room for the context or needs more than max_windows
// (naming its id and the limits) and for options that leave none to any question.
std::vector<QaWindow> make_qa_windows(std::span<const QaExample> examples,
                                      const WindowTokenizer& tokenizer,
                                      const WindowOptions& options);

// Tokens of each window: what the order and plan_step go by.
std::vector<int32_t> window_lengths(std::span<const QaWindow> windows);

}  // namespace trireme::data
