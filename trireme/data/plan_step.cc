#include "trireme/data/plan_step.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <queue>
#include <utility>

#include "trireme/base/error.h"

namespace trireme::data {
namespace {

constexpr int64_t kMostMicroBatchTokens = int64_t{1} << 30;  // rows are counted in int32 by SeqInfo

// Deals samples, in this order, each to the lightest bin; nothing when one does not fit.
std::optional<std::vector<MicroBatch>> deal(std::span<const int32_t> lengths,
                                            const std::vector<int32_t>& longest_first, int64_t bins,
                                            int64_t capacity) {
  std::vector<MicroBatch> out(bins);
  using Load = std::pair<int64_t, int64_t>;  // tokens, bin: the lowest bin wins a tie
  std::priority_queue<Load, std::vector<Load>, std::greater<>> lightest;
  for (int64_t bin = 0; bin < bins; ++bin) lightest.emplace(0, bin);
  for (const int32_t sample : longest_first) {
    const auto [tokens, bin] = lightest.top();
    if (tokens + lengths[sample] > capacity) return std::nullopt;
    lightest.pop();
    out[bin].samples.push_back(sample);
    out[bin].tokens = tokens + lengths[sample];
    lightest.emplace(out[bin].tokens, bin);
  }
  return out;
}

// One bin of each row of `dp` (rows by falling weight) to each rank, the row's heaviest to the rank
// that has least so far: totals differ by no more than the heaviest and the lightest bin do.
std::vector<std::vector<MicroBatch>> to_ranks(std::vector<MicroBatch> bins, int dp) {
  std::stable_sort(bins.begin(), bins.end(),
                   [](const MicroBatch& a, const MicroBatch& b) { return a.tokens > b.tokens; });
  std::vector<std::vector<MicroBatch>> ranks(dp);
  std::vector<int64_t> totals(dp, 0);
  std::vector<int> by_total(dp);
  std::iota(by_total.begin(), by_total.end(), 0);
  for (size_t row = 0; row < bins.size(); row += dp) {
    std::stable_sort(by_total.begin(), by_total.end(),
                     [&](int a, int b) { return totals[a] < totals[b]; });
    for (int i = 0; i < dp; ++i) {
      MicroBatch& bin = bins[row + i];
      totals[by_total[i]] += bin.tokens;
      ranks[by_total[i]].push_back(std::move(bin));
    }
  }
  return ranks;
}

void check_options(const PlanOptions& options) {
  if (options.dp < 1 || options.cp < 1) {
    throw input_error("cannot plan a step for dp = ", options.dp, ", cp = ", options.cp,
                      ": both must be at least 1");
  }
  if (options.micro_batch_tokens < 1 || options.micro_batch_tokens > kMostMicroBatchTokens) {
    throw input_error("data.micro_batch_tokens = ", options.micro_batch_tokens,
                      ": must be between 1 and ", kMostMicroBatchTokens);
  }
}

void check_lengths(std::span<const int32_t> lengths, const PlanOptions& options, int64_t capacity) {
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 1) {
      throw input_error("sample ", i, " of the global batch has ", lengths[i],
                        " tokens: every sample needs at least 1");
    }
    if (lengths[i] > capacity) {
      throw input_error("sample ", i, " of the global batch has ", lengths[i],
                        " tokens, a micro-batch at most ", capacity,
                        ": raise data.micro_batch_tokens (now ", options.micro_batch_tokens,
                        ") or shorten the samples");
    }
  }
}

}  // namespace

StepPlan plan_step(std::span<const int32_t> lengths, const PlanOptions& options) {
  check_options(options);
  const int64_t capacity = options.micro_batch_tokens * options.cp;
  check_lengths(lengths, options, capacity);

  StepPlan plan;
  plan.tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  std::vector<int32_t> longest_first(lengths.size());
  std::iota(longest_first.begin(), longest_first.end(), 0);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](int32_t a, int32_t b) { return lengths[a] > lengths[b]; });

  const int64_t per_step = capacity * options.dp;
  int64_t micro_batches = std::max<int64_t>(1, (plan.tokens + per_step - 1) / per_step);
  std::optional<std::vector<MicroBatch>> bins;
  // Ends: with a bin for each sample every one fits.
  while (!(bins = deal(lengths, longest_first, micro_batches * options.dp, capacity))) {
    ++micro_batches;
  }
  const int64_t multiple = kRowMultiple * options.cp;
  for (MicroBatch& bin : *bins) {
    std::sort(bin.samples.begin(), bin.samples.end());
    bin.rows = std::max<int64_t>(1, (bin.tokens + multiple - 1) / multiple) * multiple;
  }
  plan.ranks = to_ranks(std::move(*bins), options.dp);
  return plan;
}

}  // namespace trireme::data
