// The sizes of a model that decide what a run of it costs.
#pragma once

#include <cstdint>

#include "trireme/models/bert_config.h"
#include "trireme/models/gpt2_config.h"

namespace trireme::plan {

enum class Family { kBert, kGpt2 };

struct ModelSizes {
  Family family = Family::kBert;
  int64_t layers = 1, hidden = 1, inner = 1, heads = 1, vocabulary = 1, positions = 1;
  double hidden_dropout = 0, embedding_dropout = 0, attention_dropout = 0;

  int64_t head_size() const { return hidden / heads; }
  bool causal() const { return family == Family::kGpt2; }
};

// Of a question-answering BERT, and of a GPT-2 with its language-model head.
ModelSizes sizes_of(const models::BertConfig& config);
ModelSizes sizes_of(const models::Gpt2Config& config);

}  // namespace trireme::plan
