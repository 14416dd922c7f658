#include "trireme/plan/holders.h"

#include <algorithm>
#include <cstdio>

#include "trireme/base/error.h"
#include "trireme/comm/mesh.h"
#include "trireme/plan/played_engine.h"

namespace trireme::plan {
namespace {

double mib(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

// Ascending numbers, runs of them joined.
std::string runs(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    text += cat(text.empty() ? "" : ", ", ranks[i]);
    if (end - i > 1) text += cat("-", ranks[end - 1]);
    i = end;
  }
  return text;
}

class Slices {
 public:
  explicit Slices(const std::vector<nn::UnitParams>& units) : params_(nn::params_once(units)) {
    for (const nn::Param* param : params_) before_.push_back(param->slice);
  }
  ~Slices() {
    for (size_t i = 0; i < params_.size(); ++i) params_[i]->slice = before_[i];
  }
  Slices(const Slices&) = delete;
  Slices& operator=(const Slices&) = delete;
  void set(nn::TpSlice slice) {
    for (nn::Param* param : params_) param->slice = slice;
  }

 private:
  std::vector<nn::Param*> params_;
  std::vector<nn::TpSlice> before_;
};

}  // namespace

std::vector<Holder> holders(const std::vector<nn::UnitParams>& units, Dtype dtype,
                            const parallel::Layout& layout, int64_t ranks_per_host) {
  Slices slices(units);
  const std::vector<StageChunks> chunks = stage_chunks(units, layout);
  const comm::Mesh mesh({.pp = static_cast<int>(layout.pp),
                         .dp = static_cast<int>(layout.dp),
                         .cp = static_cast<int>(layout.cp),
                         .tp = static_cast<int>(layout.tp),
                         .order = comm::parse_axis_order(layout.order)});
  std::vector<Holder> list;
  for (int stage = 0; stage < layout.pp; ++stage) {
    for (int tp = 0; tp < layout.tp; ++tp) {
      slices.set({.rank = tp, .size = static_cast<int>(layout.tp)});
      Holder holder{.stage = stage, .tp_rank = tp, .ranks = {}, .units = {}, .held = {}};
      std::vector<int> ranks = mesh.along({comm::Axis::kDp, comm::Axis::kCp},
                                          mesh.rank({.pp = stage, .dp = 0, .cp = 0, .tp = tp}));
      std::sort(ranks.begin(), ranks.end());
      holder.ranks = runs(ranks);
      DryRunOptions options{.dtype = dtype};
      std::vector<int64_t> hosts;
      for (const int rank : ranks) hosts.push_back(rank / ranks_per_host);
      hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
      options.peers[static_cast<size_t>(Axis::kData)] = {
          .ranks = layout.data_ranks(), .hosts = static_cast<int64_t>(hosts.size())};
      options.peers[static_cast<size_t>(Axis::kTp)].ranks = layout.tp;
      DryRun run(options);
      for (const auto& [begin, end] : chunks[static_cast<size_t>(stage)]) {
        const std::vector<nn::UnitParams> own(units.begin() + static_cast<ptrdiff_t>(begin),
                                              units.begin() + static_cast<ptrdiff_t>(end));
        const PlayedEngine engine(run, own, {.zero = layout.zero});
        holder.held.parameters += engine.held().parameters;
        holder.held.gradients += engine.held().gradients;
        holder.held.optimizer += engine.held().optimizer;
        holder.held.numel += engine.held().numel;
        holder.units += cat(holder.units.empty() ? "" : ", ", own.front().name);
        if (own.size() > 1) holder.units += cat(" .. ", own.back().name);
      }
      list.push_back(std::move(holder));
    }
  }
  return list;
}

std::string table(const std::vector<Holder>& holders) {
  std::string out;
  char line[256];
  std::snprintf(line, sizeof(line), "%-14s %5s %3s %12s %11s %11s %11s  %s\n", "ranks", "stage",
                "tp", "parameters", "values MiB", "grads MiB", "optim MiB", "units");
  out += line;
  for (const Holder& holder : holders) {
    std::snprintf(line, sizeof(line), "%-14s %5lld %3lld %12lld %11.1f %11.1f %11.1f  %s\n",
                  holder.ranks.c_str(), static_cast<long long>(holder.stage),
                  static_cast<long long>(holder.tp_rank), static_cast<long long>(holder.held.numel),
                  mib(holder.held.parameters), mib(holder.held.gradients),
                  mib(holder.held.optimizer), holder.units.c_str());
    out += line;
  }
  return out;
}

std::string compare(const Plan& plan, const Measured& measured) {
  const double step_s = measured.tokens_per_s > 0 ? plan.tokens / measured.tokens_per_s : 0;
  const int64_t peak =
      measured.peak_rss_bytes.empty()
          ? 0
          : *std::max_element(measured.peak_rss_bytes.begin(), measured.peak_rss_bytes.end());
  const auto off = [](double found, double expected) {
    return expected > 0 ? 100 * (found / expected - 1) : 0;
  };
  char line[256];
  std::snprintf(line, sizeof(line),
                "step: planned %.4f s, measured %.4f s (%+.0f %%); peak of a rank: planned %.0f "
                "MiB, measured %.0f MiB (%+.0f %%)",
                plan.step_s, step_s, off(step_s, plan.step_s), mib(plan.peak_rss()), mib(peak),
                off(static_cast<double>(peak), static_cast<double>(plan.peak_rss())));
  return line;
}

}  // namespace trireme::plan
