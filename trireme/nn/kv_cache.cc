#include "trireme/nn/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trireme/base/error.h"

namespace trireme::nn {

void KvCache::begin(int64_t new_tokens) {
  if (tokens_ + new_tokens > max_tokens_) {
    throw input_error("a sequence of ", tokens_ + new_tokens, " tokens; the cache has room for ",
                      max_tokens_);
  }
  new_tokens_ = new_tokens;
  layer_ = 0;
}

void KvCache::end() {
  tokens_ += new_tokens_;
  new_tokens_ = 0;
}

void KvCache::truncate(int64_t tokens) {
  tokens_ = std::min(tokens_, tokens);
}

std::tuple<at::Tensor, at::Tensor> KvCache::append(const at::Tensor& k, const at::Tensor& v) {
  if (layer_ == layers_.size()) {
    const auto room = [&](const at::Tensor& x) {
      return at::empty({max_tokens_, x.size(1), x.size(2)}, x.options());
    };
    layers_.push_back({room(k), room(v)});
  }
  const Layer& all = layers_[layer_++];
  const auto put = [&](const at::Tensor& into, const at::Tensor& from) {
    into.narrow(0, tokens_, new_tokens_).copy_(from.narrow(0, 0, new_tokens_));
    return into.narrow(0, 0, tokens_ + new_tokens_);
  };
  return {put(all.k, k), put(all.v, v)};
}

}  // namespace trireme::nn
