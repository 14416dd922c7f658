// Keys and values of the tokens that a sequence has behind it, so that a new token costs one row
// and not all of them again. Contiguous, one sequence.
//
//   KvCache cache(/*max_tokens=*/1024);
//   context.cache = &cache;
//   cache.begin(n);                     // n tokens come in this forward
//   model.forward(context);             // context.seq = SeqInfo::continued(cache.tokens(), n)
//   cache.end();
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <tuple>
#include <vector>

namespace trireme::nn {

class KvCache {
 public:
  explicit KvCache(int64_t max_tokens) : max_tokens_(max_tokens) {}

  int64_t tokens() const { return tokens_; }  // of forwards that ended
  // Throws input_error when they are more than max_tokens in all.
  void begin(int64_t new_tokens);
  void end();
  // Forgets all tokens but the first ones.
  void truncate(int64_t tokens);

  // Called by each attention layer of a forward in turn, the same ones in every forward: appends
  // its keys and values of the new tokens (the first rows of k, v [T, N, D]) and returns all there
  // are, [tokens, N, D] each.
  std::tuple<at::Tensor, at::Tensor> append(const at::Tensor& k, const at::Tensor& v);

 private:
  int64_t max_tokens_;
  int64_t tokens_ = 0, new_tokens_ = 0;
  size_t layer_ = 0;  // which attends next
  struct Layer {
    at::Tensor k, v;  // [max_tokens, N, D]
  };
  std::vector<Layer> layers_;
};

}  // namespace trireme::nn
