// A tokenizer of the text folder as the one that windows are made with.
#pragma once

#include "trireme/data/qa_windows.h"
#include "trireme/text/tokenizer.h"

namespace trireme::data {

// Shares the tokenizer, which need not outlive the result. Throws input_error when it has no [CLS]
// or no [SEP]: windows are [CLS] question [SEP] context [SEP].
WindowTokenizer window_tokenizer(const text::Tokenizer& tokenizer);

}  // namespace trireme::data
