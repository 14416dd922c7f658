// What a run will need and how long its steps will take, before any rank is started: the run's own
// first steps, played by each stage of the layout without computing (dry_run.h).
//
//   Plan plan = make_plan({.layout = layout, .sizes = sizes_of(config), .units = model.units(),
//                          .lengths = lengths, .machine = &machine, ...});
//   std::cout << table(plan);
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/data/order.h"
#include "trireme/nn/param.h"
#include "trireme/parallel/layout.h"
#include "trireme/plan/dry_run.h"
#include "trireme/plan/model_sizes.h"
#include "trireme/plan/played_engine.h"

namespace trireme::plan {

// What is the same for all layouts of a run.
struct PlanInput {
  ModelSizes sizes;
  std::vector<nn::UnitParams> units;  // of the whole model; no storage is needed
  // The same where its ends are on different stages: tied tables are Params of their own
  // (nn::Tie). Empty: as above.
  std::vector<nn::UnitParams> stage_units = {};
  Dtype dtype = Dtype::kFp32;
  std::span<const int32_t> lengths;  // tokens of every training sample
  data::BatchPolicy batch;
  int64_t micro_batch_tokens = 0;
  uint64_t seed = 1;
  int64_t steps = 8;               // that are played
  int64_t most_micro_batches = 0;  // played of a step, times stages; the rest is like them. 0: all
  bool loads_weights = false;      // rank 0 reads pretrained ones
  int64_t data_bytes = 0;          // private memory of the data set and the tokenizer
  const Machine* machine = nullptr;
  int64_t ranks_per_host = 0;  // 0: one a core
  int64_t threads = 0;         // a rank; 0: its share of the cores
};

struct StagePlan {
  int64_t stage = 0;
  int64_t first_unit = 0, end_unit = 0;  // of the first chunk, where there are several
  HeldBytes held = {};
  int64_t activations = 0;  // most of what lives between forward and backward, and workspace
  int64_t process = 0;      // libraries, data
  int64_t peak_rss = 0;     // private memory and shared buffers: metrics.peak_rss_bytes
  double busy_s = 0;        // a step
};

struct AxisTraffic {
  double bytes = 0, messages = 0, seconds = 0;  // a step and rank, of the rank that has most
};

struct Plan {
  parallel::Layout layout;
  std::vector<StagePlan> stages;
  double micro_batches = 0, tokens = 0;  // a step, of all data ranks together: tokens
  double step_s = 0;
  double bubble = 0;  // share of the ranks' time that waits for other stages
  std::array<AxisTraffic, kAxisNames.size()> traffic{};

  double tokens_per_s() const { return step_s > 0 ? tokens / step_s : 0; }
  int64_t peak_rss() const;  // of the stage that needs most
  Json to_json() const;
};

// Of a run of `world`.
int64_t ranks_per_host(const PlanInput& input, int64_t world);

// The chunks of a pipeline stage: first unit, and the one behind the last. Cut as training cuts
// them.
using StageChunks = std::vector<std::pair<size_t, size_t>>;
std::vector<StageChunks> stage_chunks(const std::vector<nn::UnitParams>& units,
                                      const parallel::Layout& layout);

// The units of a layout's model.
const std::vector<nn::UnitParams>& units_of(const PlanInput& input, const parallel::Layout& layout);

Plan make_plan(const PlanInput& input, const parallel::Layout& layout);

// A table by stage and a summary, for people.
std::string table(const Plan& plan, const PlanInput& input);

}  // namespace trireme::plan
