#include "trireme/parallel/pipeline/stage_cut.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "trireme/base/error.h"

namespace trireme::parallel::pipeline {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

struct Cut {
  std::vector<size_t> begins;  // and the end
  double value = kNever;
};

// The cut of least value: `join` adds a run's cost to the value of the runs before it.
Cut best_cut(const std::vector<double>& sums, size_t chunks,
             const std::function<double(double before, double run)>& join) {
  const size_t units = sums.size() - 1;
  // [k][n]: of the first n units in k runs, and where the last run begins.
  std::vector<std::vector<double>> value(chunks + 1, std::vector<double>(units + 1, kNever));
  std::vector<std::vector<size_t>> begin(chunks + 1, std::vector<size_t>(units + 1, 0));
  value[0][0] = 0;
  for (size_t k = 1; k <= chunks; ++k) {
    for (size_t n = k; n <= units; ++n) {
      for (size_t b = k - 1; b < n; ++b) {
        const double joined = join(value[k - 1][b], sums[n] - sums[b]);
        if (joined >= value[k][n]) continue;
        value[k][n] = joined;
        begin[k][n] = b;
      }
    }
  }
  Cut cut{{units}, value[chunks][units]};
  for (size_t k = chunks; k > 0; --k) cut.begins.push_back(begin[k][cut.begins.back()]);
  std::reverse(cut.begins.begin(), cut.begins.end());
  return cut;
}

}  // namespace

std::vector<size_t> cut_units(std::span<const double> costs, int chunks) {
  if (chunks < 1) throw input_error("a pipeline has at least one chunk, not ", chunks);
  if (costs.size() < static_cast<size_t>(chunks)) {
    throw input_error("a model of ", costs.size(),
                      " units (embedding, blocks, head) cannot be cut "
                      "into ",
                      chunks,
                      " pipeline chunks: lower parallel.pp or "
                      "parallel.chunks");
  }
  std::vector<double> sums{0};
  for (const double cost : costs) {
    if (!(cost >= 0) || cost == kNever) {
      throw input_error("the cost of unit ", sums.size() - 1, " is ", cost);
    }
    sums.push_back(sums.back() + cost);
  }
  const auto count = static_cast<size_t>(chunks);
  const double least =
      best_cut(sums, count, [](double before, double run) { return std::max(before, run); }).value;
  const double bound = least + 1e-12 * sums.back();  // sums are rounded
  return best_cut(
             sums, count,
             [=](double before, double run) { return run <= bound ? before + run * run : kNever; })
      .begins;
}

}  // namespace trireme::parallel::pipeline
