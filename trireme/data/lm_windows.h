// Windows of language modelling: which runs of which documents a training sample holds.
//
//   const LmWindows windows({{&books, 0.7}, {&web, 0.3}}, {.window_tokens = 1024, .seed = 1});
//   for (const LmPiece& piece : windows.pieces(epoch, index)) ...
//
// One corpus. An epoch is its documents in an order drawn from (seed, epoch), end to end, cut into
// windows of window_tokens: window i holds the epoch's tokens [i n, (i + 1) n). So each token is in
// one window, once an epoch; only the last window may be short. A document that crosses a window's
// end goes on in the next one.
//
// A blend of corpora with weights. Each corpus is an endless stream, its epochs in turn, cut into
// full windows; a window may hold the end of one of its epochs and the beginning of the next. An
// epoch of the blend has as many windows as the corpora's tokens would fill, divided by the weights
// (largest remainders); it takes the next ones of each stream, so that within each pass over a
// corpus a token is used once, however many epochs of the blend the pass takes. In which order the
// windows of an epoch are used is order.h's affair.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "trireme/data/token_corpus.h"

namespace trireme::data {

// A run of tokens of one document.
struct LmPiece {
  const TokenCorpus* corpus;
  int64_t document;
  int64_t begin;  // in the document
  int64_t length;
  bool goes_on;  // the document has a token behind it
};

// The documents of a corpus in the order of one of its epochs, end to end.
class CorpusStream {
 public:
  CorpusStream(const TokenCorpus& corpus, uint64_t order_seed);  // shuffled
  explicit CorpusStream(const TokenCorpus& corpus);              // in the corpus's order

  // Appends the runs that tokens [begin, end) consist of; end <= the corpus's tokens.
  void append(int64_t begin, int64_t end, std::vector<LmPiece>& pieces) const;

 private:
  const TokenCorpus& corpus_;
  std::vector<int64_t> documents_;  // by place in the stream
  std::vector<int64_t> starts_;     // first token of each
};

struct WeightedCorpus {
  const TokenCorpus* corpus;
  double weight = 1;
};

struct LmWindowOptions {
  int64_t window_tokens = 1024;
  uint64_t seed = 0;
};

class LmWindows {
 public:
  // The corpora must outlive it. Weights above 0; their scale does not matter.
  LmWindows(std::vector<WeightedCorpus> corpora, const LmWindowOptions& options);

  int64_t size() const { return windows_; }  // windows in an epoch
  int64_t length(int64_t index) const;       // tokens of a window, in every epoch
  // Windows of each corpus in an epoch.
  const std::vector<int64_t>& shares() const { return shares_; }
  // Threads may call it at once.
  std::vector<LmPiece> pieces(int64_t epoch, int64_t index) const;

 private:
  std::shared_ptr<const CorpusStream> stream(size_t corpus, int64_t pass) const;

  std::vector<WeightedCorpus> corpora_;
  LmWindowOptions options_;
  int64_t windows_ = 0;
  std::vector<int64_t> shares_;
  // The streams last used: windows of two passes may alternate.
  struct Cached {
    size_t corpus;
    int64_t pass;
    std::shared_ptr<const CorpusStream> stream;
  };
  mutable std::mutex mutex_;
  mutable std::vector<Cached> cache_;
};

}  // namespace trireme::data
