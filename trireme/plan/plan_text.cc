#include <cstdio>

#include "trireme/plan/plan.h"

namespace trireme::plan {
namespace {

std::string in_mib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", static_cast<double>(bytes) / (1 << 20));
  return text;
}

}  // namespace

Json Plan::to_json() const {
  Json list = Json::array(), axes = Json::object();
  for (const StagePlan& stage : stages) {
    list.push_back({{"stage", stage.stage},
                    {"first_unit", stage.first_unit},
                    {"end_unit", stage.end_unit},
                    {"parameters", stage.held.numel},
                    {"parameter_bytes", stage.held.parameters},
                    {"gradient_bytes", stage.held.gradients},
                    {"optimizer_bytes", stage.held.optimizer},
                    {"activation_bytes", stage.activations},
                    {"process_bytes", stage.process},
                    {"peak_rss_bytes", stage.peak_rss},
                    {"busy_s", stage.busy_s}});
  }
  for (size_t axis = 0; axis < kAxisNames.size(); ++axis) {
    const AxisTraffic& of = traffic[axis];
    if (of.messages == 0) continue;
    axes[kAxisNames[axis]] = {
        {"bytes", of.bytes}, {"messages", of.messages}, {"seconds", of.seconds}};
  }
  return {{"layout", parallel::text(layout)},
          {"stages", std::move(list)},
          {"micro_batches", micro_batches},
          {"tokens", tokens},
          {"step_s", step_s},
          {"real_tokens_per_s", tokens_per_s()},
          {"peak_rss_bytes", peak_rss()},
          {"bubble", bubble},
          {"traffic", std::move(axes)}};
}

std::string table(const Plan& plan, const PlanInput& input) {
  std::string out;
  char line[256];
  std::snprintf(line, sizeof(line), "%5s  %-26s %12s %10s %10s %10s %12s %9s %9s\n", "stage",
                "units", "parameters", "values", "gradients", "optimizer", "activations", "process",
                "peak MiB");
  out += line;
  const std::vector<nn::UnitParams>& units = units_of(input, plan.layout);
  for (const StagePlan& stage : plan.stages) {
    const std::string names = units[static_cast<size_t>(stage.first_unit)].name + " .. " +
                              units[static_cast<size_t>(stage.end_unit) - 1].name;
    std::snprintf(line, sizeof(line), "%5lld  %-26s %12lld %10s %10s %10s %12s %9s %9s\n",
                  static_cast<long long>(stage.stage), names.c_str(),
                  static_cast<long long>(stage.held.numel), in_mib(stage.held.parameters).c_str(),
                  in_mib(stage.held.gradients).c_str(), in_mib(stage.held.optimizer).c_str(),
                  in_mib(stage.activations).c_str(), in_mib(stage.process).c_str(),
                  in_mib(stage.peak_rss).c_str());
    out += line;
  }
  std::snprintf(line, sizeof(line),
                "%s: %.1f micro-batches of a step of %.0f tokens; %.4f s a step, %.0f tokens/s; "
                "%s MiB a rank",
                parallel::text(plan.layout).c_str(), plan.micro_batches, plan.tokens, plan.step_s,
                plan.tokens_per_s(), in_mib(plan.peak_rss()).c_str());
  out += line;
  if (plan.layout.pp > 1) {
    std::snprintf(line, sizeof(line), "; bubble %.1f %%", 100 * plan.bubble);
    out += line;
  }
  out += '\n';
  for (size_t axis = 0; axis < kAxisNames.size(); ++axis) {
    const AxisTraffic& of = plan.traffic[axis];
    if (of.messages == 0) continue;
    std::snprintf(line, sizeof(line), "  %s: %s MiB in %.0f messages a step and rank, %.1f ms\n",
                  kAxisNames[axis], in_mib(static_cast<int64_t>(of.bytes)).c_str(), of.messages,
                  1e3 * of.seconds);
    out += line;
  }
  return out;
}

}  // namespace trireme::plan
