#include "trireme/plan/search.h"

#include <algorithm>
#include <cstdio>

namespace trireme::plan {
namespace {

std::string in_mib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.0f", static_cast<double>(bytes) / (1 << 20));
  return text;
}

// What the axes leave to choose.
void add_settings(const parallel::Layout& axes, std::vector<parallel::Layout>& layouts) {
  for (const parallel::ScheduleName& schedule : parallel::schedule_names()) {
    if ((axes.pp > 1) == (std::string(schedule.name) == "none")) continue;
    for (int64_t zero = 0; zero <= (axes.data_ranks() > 1 ? 3 : 0); ++zero) {
      for (const bool recompute : {false, true}) {
        for (const bool sequence : {false, true}) {
          if (sequence && axes.tp == 1) continue;
          for (const char* method : {"ring", "ulysses"}) {
            if (axes.cp == 1 && std::string(method) != "ring") continue;
            parallel::Layout layout = axes;
            layout.schedule = schedule.name;
            layout.chunks = schedule.chunks > 0 ? schedule.chunks : 2;
            layout.zero = zero;
            layout.recompute = recompute;
            layout.sequence_parallel = sequence;
            layout.cp_method = method;
            layouts.push_back(layout);
          }
        }
      }
    }
  }
}

}  // namespace

std::vector<parallel::Layout> all_layouts(int64_t world, const std::string& order) {
  std::vector<parallel::Layout> layouts;
  for (int64_t pp = 1; pp <= world; ++pp) {
    if (world % pp != 0) continue;
    for (int64_t tp = 1; tp <= world / pp; ++tp) {
      if (world / pp % tp != 0) continue;
      for (int64_t cp = 1; cp <= world / pp / tp; ++cp) {
        if (world / pp / tp % cp != 0) continue;
        add_settings({.pp = pp, .dp = world / pp / tp / cp, .cp = cp, .tp = tp, .order = order},
                     layouts);
      }
    }
  }
  return layouts;
}

Search search_layouts(const PlanInput& input, const SearchOptions& options) {
  // A first look at one step and few micro-batches; the best are then played as they are.
  PlanInput glance = input;
  glance.steps = 1;
  glance.most_micro_batches = 2;
  Search search;
  std::vector<Plan> fitting;
  for (const parallel::Layout& layout : all_layouts(options.world, options.order)) {
    const auto faults = parallel::layout_faults(layout, options.limits);
    if (!faults.empty()) {
      ++search.illegal[faults[0].reason];
      continue;
    }
    ++search.legal;
    Plan plan = make_plan(glance, layout);
    const int64_t peak = plan.peak_rss();
    search.least_peak = search.legal == 1 ? peak : std::min(search.least_peak, peak);
    if (peak > options.memory_bytes) {
      ++search.too_large;
    } else {
      fitting.push_back(std::move(plan));
    }
  }
  const auto faster = [](const Plan& a, const Plan& b) { return a.step_s < b.step_s; };
  std::stable_sort(fitting.begin(), fitting.end(), faster);
  fitting.resize(std::min(fitting.size(), options.shown));
  for (Plan& plan : fitting) {
    plan = make_plan(input, plan.layout);
    if (plan.peak_rss() <= options.memory_bytes) {
      search.best.push_back(std::move(plan));
    } else {
      ++search.too_large;
    }
  }
  std::stable_sort(search.best.begin(), search.best.end(), faster);
  return search;
}

std::string table(const Search& search, const SearchOptions& options) {
  char line[256];
  std::snprintf(line, sizeof(line), "%lld of %lld layouts of %lld ranks may run",
                static_cast<long long>(search.legal),
                static_cast<long long>(all_layouts(options.world, options.order).size()),
                static_cast<long long>(options.world));
  std::string out = line;
  out += search.too_large > 0
             ? ", " + std::to_string(search.too_large) + " of them need more than " +
                   in_mib(options.memory_bytes) + " MiB a rank\n"
             : "\n";
  if (search.best.empty()) {
    out += "none fits; the smallest needs " + in_mib(search.least_peak) + " MiB a rank\n";
  } else {
    std::snprintf(line, sizeof(line), "%3s  %10s %12s %10s %8s  %s\n", "", "s a step", "tokens/s",
                  "peak MiB", "bubble", "layout");
    out += line;
  }
  for (size_t i = 0; i < search.best.size(); ++i) {
    const Plan& plan = search.best[i];
    std::snprintf(line, sizeof(line), "%3zu  %10.4f %12.0f %10s %7.1f%%  %s\n", i + 1, plan.step_s,
                  plan.tokens_per_s(), in_mib(plan.peak_rss()).c_str(), 100 * plan.bubble,
                  parallel::text(plan.layout).c_str());
    out += line;
  }
  for (const auto& [reason, count] : search.illegal) {
    std::snprintf(line, sizeof(line), "%lld cannot run: %s\n", static_cast<long long>(count),
                  reason.c_str());
    out += line;
  }
  return out;
}

Json to_json(const Search& search) {
  Json best = Json::array(), illegal = Json::object();
  for (const Plan& plan : search.best) best.push_back(plan.to_json());
  for (const auto& [reason, count] : search.illegal) illegal[reason] = count;
  return {{"best", std::move(best)},
          {"legal", search.legal},
          {"too_large", search.too_large},
          {"least_peak_rss_bytes", search.least_peak},
          {"illegal", std::move(illegal)}};
}

}  // namespace trireme::plan
