#include "trireme/data/lm_windows.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/permutation.h"
#include "trireme/base/random.h"

namespace trireme::data {
namespace {

// `total` divided by the weights: the whole parts, and what is left to the largest remainders, the
// first of equal ones.
std::vector<int64_t> divide(int64_t total, const std::vector<WeightedCorpus>& corpora) {
  double sum = 0;
  for (const WeightedCorpus& corpus : corpora) sum += corpus.weight;
  std::vector<int64_t> shares;
  std::vector<double> remainders;
  for (const WeightedCorpus& corpus : corpora) {
    const double exact = static_cast<double>(total) * corpus.weight / sum;
    shares.push_back(static_cast<int64_t>(exact));
    remainders.push_back(exact - std::floor(exact));
  }
  std::vector<size_t> order(corpora.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return remainders[a] > remainders[b]; });
  int64_t left = total - std::accumulate(shares.begin(), shares.end(), int64_t{0});
  for (size_t i = 0; left > 0; i = (i + 1) % order.size(), --left) shares[order[i]] += 1;
  return shares;
}

}  // namespace

CorpusStream::CorpusStream(const TokenCorpus& corpus) : corpus_(corpus) {
  documents_.resize(static_cast<size_t>(corpus.documents()));
  std::iota(documents_.begin(), documents_.end(), int64_t{0});
  int64_t start = 0;
  for (const int64_t document : documents_) {
    starts_.push_back(start);
    start += corpus.length(document);
  }
}

CorpusStream::CorpusStream(const TokenCorpus& corpus, uint64_t order_seed) : corpus_(corpus) {
  const Permutation order(static_cast<uint64_t>(corpus.documents()), order_seed);
  int64_t start = 0;
  for (uint64_t i = 0; i < order.size(); ++i) {
    documents_.push_back(static_cast<int64_t>(order(i)));
    starts_.push_back(start);
    start += corpus.length(documents_.back());
  }
}

void CorpusStream::append(int64_t begin, int64_t end, std::vector<LmPiece>& pieces) const {
  auto place = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), begin) -
                                   starts_.begin()) -
               1;
  for (; begin < end; ++place) {
    const int64_t document = documents_[place];
    const int64_t first = begin - starts_[place], whole = corpus_.length(document);
    const int64_t length = std::min(whole - first, end - begin);
    pieces.push_back({&corpus_, document, first, length, first + length < whole});
    begin += length;
  }
}

LmWindows::LmWindows(std::vector<WeightedCorpus> corpora, const LmWindowOptions& options)
    : corpora_(std::move(corpora)), options_(options) {
  int64_t tokens = 0;
  for (const WeightedCorpus& corpus : corpora_) {
    if (!(corpus.weight > 0) || !std::isfinite(corpus.weight))
      throw input_error(corpus.corpus->name(), ": its weight in the blend is ", corpus.weight,
                        "; weights are above 0");
    tokens += corpus.corpus->tokens();
  }
  windows_ = (tokens + options_.window_tokens - 1) / options_.window_tokens;
  shares_ = divide(windows_, corpora_);
  for (size_t i = 0; i < corpora_.size(); ++i) {
    if (shares_[i] == 0) {
      throw input_error(corpora_[i].corpus->name(), ": its weight gives it none of the ", windows_,
                        " windows of an epoch; leave it out, or raise its weight");
    }
  }
}

int64_t LmWindows::length(int64_t index) const {
  const int64_t n = options_.window_tokens;
  if (corpora_.size() > 1 || index + 1 < windows_) return n;
  return corpora_.front().corpus->tokens() - index * n;
}

std::shared_ptr<const CorpusStream> LmWindows::stream(size_t corpus, int64_t pass) const {
  const std::lock_guard lock(mutex_);
  for (const Cached& cached : cache_) {
    if (cached.corpus == corpus && cached.pass == pass) return cached.stream;
  }
  const uint64_t seed =
      mix_seeds(mix_seeds(mix_seeds(options_.seed, hash_name("data.documents")), corpus),
                static_cast<uint64_t>(pass));
  const auto made = std::make_shared<const CorpusStream>(*corpora_[corpus].corpus, seed);
  if (cache_.size() == 2 * corpora_.size()) cache_.erase(cache_.begin());
  cache_.push_back({corpus, pass, made});
  return made;
}

std::vector<LmPiece> LmWindows::pieces(int64_t epoch, int64_t index) const {
  std::vector<LmPiece> pieces;
  const int64_t n = options_.window_tokens;
  if (corpora_.size() == 1) {
    stream(0, epoch)->append(index * n, index * n + length(index), pieces);
    return pieces;
  }
  size_t corpus = 0;
  for (; index >= shares_[corpus]; ++corpus) index -= shares_[corpus];
  // In the endless stream of the corpus; a pass over it has `whole` tokens.
  const int64_t whole = corpora_[corpus].corpus->tokens();
  int64_t at = (epoch * shares_[corpus] + index) * n;
  for (const int64_t end = at + n; at < end;) {
    const int64_t pass = at / whole, stop = std::min(end, (pass + 1) * whole);
    stream(corpus, pass)->append(at - pass * whole, stop - pass * whole, pieces);
    at = stop;
  }
  return pieces;
}

}  // namespace trireme::data
