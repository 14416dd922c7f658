#include "trireme/parallel/layout.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/text_distance.h"

namespace trireme::parallel {
namespace {

// Rows of a batch are a multiple of it on every rank (data::kRowMultiple).
constexpr int64_t kRowMultiple = 64;

std::string divisors(int64_t n) {
  std::string list;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) list += cat(list.empty() ? "" : ", ", d);
  }
  return list;
}

class Faults {
 public:
  template <class... Parts>
  void add(const char* key, const char* reason, const Parts&... message) {
    list_.push_back({key, reason, cat(message...)});
  }
  std::vector<LayoutFault> take() { return std::move(list_); }

 private:
  std::vector<LayoutFault> list_;
};

void find_size_faults(const Layout& layout, Faults& faults) {
  for (const auto& [key, size] : {std::pair{"parallel.pp", layout.pp},
                                  {"parallel.dp", layout.dp},
                                  {"parallel.cp", layout.cp},
                                  {"parallel.tp", layout.tp},
                                  {"parallel.chunks", layout.chunks}}) {
    if (size < 1) faults.add(key, "an axis below 1", "must be at least 1, not ", size);
  }
  if (layout.zero < 0 || layout.zero > 3)
    faults.add("parallel.zero", "no such ZeRO stage", "ZeRO has the stages 0 to 3");
}

void find_tensor_faults(const Layout& layout, const LayoutLimits& limits, Faults& faults) {
  if (limits.heads % layout.tp != 0) {
    faults.add("parallel.tp", "heads do not divide over tp", "tp = ", layout.tp,
               " does not divide the model's ", limits.heads, " attention heads; take one of ",
               divisors(limits.heads));
  }
  if (!layout.sequence_parallel) return;
  if (layout.tp == 1) {
    faults.add("parallel.sequence_parallel", "sequence parallel without tp",
               "sequence parallel cuts rows over the ranks of tp, and tp is 1; leave it false");
  } else if (kRowMultiple % layout.tp != 0) {
    faults.add("parallel.sequence_parallel", "rows do not divide over tp",
               "rows come in multiples of ", kRowMultiple, ", which tp = ", layout.tp,
               " does not divide; take a power of two up to ", kRowMultiple, ", or leave it false");
  }
}

void find_pipeline_faults(const Layout& layout, const LayoutLimits& limits, Faults& faults) {
  const auto& names = schedule_names();
  const auto schedule = std::find_if(names.begin(), names.end(), [&](const ScheduleName& known) {
    return layout.schedule == known.name;
  });
  const bool of_file = is_schedule_file(layout.schedule);
  if (schedule == names.end() && !of_file) {
    std::vector<std::string> known;
    for (const ScheduleName& name : names) known.emplace_back(name.name);
    faults.add("parallel.schedule", "no such schedule", "no schedule '", layout.schedule, "'",
               did_you_mean(layout.schedule, known));
    return;
  }
  if (layout.pp == 1) {
    if (layout.schedule != "none") {
      faults.add("parallel.schedule", "a schedule without stages", "schedule '", layout.schedule,
                 "' is for pp of 2 or more, and pp is 1; take 'none'");
    }
    if (layout.chunks != 1) {
      faults.add("parallel.chunks", "chunks without stages",
                 "chunks cut a pipeline stage, and pp is 1; take 1");
    }
    return;
  }
  if (layout.schedule == "none") {
    faults.add("parallel.schedule", "stages without a schedule", "pp = ", layout.pp,
               " needs a schedule: gpipe, 1f1b, interleaved, zb_h1 or zbv");
  } else if (of_file) {
    // Its chunks are its own.
  } else if (schedule->chunks == 0 && layout.chunks < 2) {
    faults.add("parallel.chunks", "the schedule needs chunks", "schedule '", layout.schedule,
               "' runs two or more chunks a stage, not ", layout.chunks);
  } else if (schedule->chunks > 0 && layout.chunks != schedule->chunks) {
    faults.add("parallel.chunks", "the schedule has other chunks", "schedule '", layout.schedule,
               "' runs ", schedule->chunks, schedule->chunks == 1 ? " chunk" : " chunks",
               " a stage, not ", layout.chunks);
  }
  if (layout.pp * layout.chunks > limits.layers) {
    faults.add("parallel.pp", "more stages than layers", "pp = ", layout.pp, " stages of ",
               layout.chunks, layout.chunks == 1 ? " chunk" : " chunks", " need ",
               layout.pp * layout.chunks, " layers, the model has ", limits.layers,
               "; take fewer stages");
  }
  if (layout.zero == 3) {
    faults.add("parallel.zero", "ZeRO stage 3 with stages", "ZeRO stage 3 with pp = ", layout.pp,
               " would gather every parameter once a micro-batch; take zero = 2, or pp = 1");
  }
}

void find_context_faults(const Layout& layout, const LayoutLimits& limits, Faults& faults) {
  if (layout.cp_method != "ring" && layout.cp_method != "ulysses") {
    const std::vector<std::string> known = {"ring", "ulysses"};
    faults.add("parallel.cp_method", "no such context-parallel method", "no method '",
               layout.cp_method, "'", did_you_mean(layout.cp_method, known),
               "; there are ring and ulysses");
  }
  const int64_t capacity = limits.micro_batch_tokens * layout.cp;
  if (limits.micro_batch_tokens > 0 && limits.longest_sequence > capacity) {
    faults.add("data.micro_batch_tokens", "a sequence longer than a micro-batch",
               "the longest sequence has ", limits.longest_sequence,
               " tokens, and a micro-batch holds ", limits.micro_batch_tokens,
               " on each of cp = ", layout.cp,
               "; raise it, raise parallel.cp, or shorten the sequences");
  }
  if (layout.cp == 1) return;
  // Each rank takes a piece from both ends of a sequence, so that causal work is even.
  if (limits.longest_sequence > 0 && limits.longest_sequence < 2 * layout.cp) {
    faults.add("parallel.cp", "sequences shorter than cp shares", "cp = ", layout.cp, " cuts a ",
               "sequence into ", 2 * layout.cp, " pieces, and the longest has ",
               limits.longest_sequence, " tokens");
  }
  if (layout.cp_method == "ulysses" && limits.heads % (layout.tp * layout.cp) != 0) {
    faults.add("parallel.cp", "heads do not divide over cp", "ulysses shares out heads, and tp x ",
               "cp = ", layout.tp * layout.cp, " does not divide the model's ", limits.heads,
               "; take another cp, or cp_method = \"ring\"");
  }
}

}  // namespace

bool is_schedule_file(const std::string& schedule) {
  return schedule.ends_with(".csv");
}

std::string text(const Layout& layout) {
  std::string out;
  const auto add = [&out](const char* name, const auto& value) {
    out += cat(out.empty() ? "" : " ", name, "=", value);
  };
  if (layout.pp != 1) add("pp", layout.pp);
  if (layout.dp != 1 || layout.world() == 1) add("dp", layout.dp);
  if (layout.cp != 1) add("cp", layout.cp);
  if (layout.tp != 1) add("tp", layout.tp);
  if (layout.zero != 0) add("zero", layout.zero);
  if (layout.schedule != "none") add("schedule", layout.schedule);
  if (layout.chunks != 1) add("chunks", layout.chunks);
  if (layout.cp != 1 && layout.cp_method != "ring") add("cp_method", layout.cp_method);
  if (layout.sequence_parallel) add("sequence_parallel", "true");
  if (layout.recompute) add("recompute", "true");
  return out;
}

const std::vector<ScheduleName>& schedule_names() {
  static const std::vector<ScheduleName> names = {{"none", 1},        {"gpipe", 1}, {"1f1b", 1},
                                                  {"interleaved", 0}, {"zb_h1", 1}, {"zbv", 2}};
  return names;
}

namespace {

void fill_schedule(Layout& layout) {
  if (layout.schedule == "auto") layout.schedule = layout.pp > 1 ? "1f1b" : "none";
  if (layout.chunks != 0) return;
  const auto& names = schedule_names();
  const auto schedule = std::find_if(names.begin(), names.end(), [&](const ScheduleName& known) {
    return layout.schedule == known.name;
  });
  layout.chunks = schedule == names.end() ? 1 : std::max<int64_t>(schedule->chunks, 1);
  if (schedule != names.end() && schedule->chunks == 0) layout.chunks = 2;
}

}  // namespace

Layout fitted(Layout layout, int64_t world, const Where& where) {
  fill_schedule(layout);
  const int64_t others = layout.pp * layout.cp * layout.tp;
  const std::string product =
      cat("pp x cp x tp = ", layout.pp, " x ", layout.cp, " x ", layout.tp, " = ", others);
  const std::string ranks = cat(world, world == 1 ? " rank runs" : " ranks run");
  if (others < 1 || world % others != 0) {
    const char* key = layout.tp > 1 ? "parallel.tp" : layout.pp > 1 ? "parallel.pp" : "parallel.cp";
    throw input_error(where(key), ": ", product, " does not divide the world: ", ranks,
                      "; start a multiple of ", others, " with trireme launch -n");
  }
  if (layout.dp == 0) layout.dp = world / others;
  if (layout.world() == world) return layout;
  if (others == 1) {
    throw input_error(where("parallel.dp"), " is ", layout.dp, ", but ", ranks,
                      "; start as many with trireme launch -n, or leave it 0");
  }
  throw input_error(where("parallel.dp"), " is ", layout.dp, ", with ", product, " that is ",
                    layout.world(), " ranks, but ", ranks,
                    "; start as many with trireme launch -n, or leave it 0");
}

std::vector<LayoutFault> layout_faults(const Layout& layout, const LayoutLimits& limits) {
  Faults sizes;
  find_size_faults(layout, sizes);
  std::vector<LayoutFault> list = sizes.take();
  if (!list.empty()) return list;  // the others divide by them
  Faults faults;
  find_tensor_faults(layout, limits, faults);
  find_pipeline_faults(layout, limits, faults);
  find_context_faults(layout, limits, faults);
  return faults.take();
}

void check_layout(const Layout& layout, const LayoutLimits& limits, const Where& where) {
  const std::vector<LayoutFault> faults = layout_faults(layout, limits);
  if (!faults.empty()) throw input_error(where(faults[0].key), ": ", faults[0].message);
}

}  // namespace trireme::parallel
