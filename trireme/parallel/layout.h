// How the ranks of a run are laid out, and which layouts a model allows: the one place that decides
// it, for training before any weight is loaded and for planning before any rank is started. Pure.
//
//   Layout layout = fitted({.pp = 2, .dp = 0, .tp = 2}, world.size(), where);
//   check_layout(layout, {.layers = 12, .heads = 12}, [&](auto key) { return schema.where(key); });
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace trireme::parallel {

// The keys of the table "parallel", under the same names.
struct Layout {
  int64_t pp = 1;  // pipeline stages
  int64_t dp = 1;  // ranks that share out a step's samples; 0: as many as the world leaves
  int64_t cp = 1;  // ranks that share each sequence
  int64_t tp = 1;  // ranks that share each layer
  int64_t zero = 0;
  // "auto": 1f1b where there are stages. A path that ends in .csv: of a file (pipeline/csv.h), with
  // as many chunks as it has.
  std::string schedule = "none";
  int64_t chunks = 1;  // of the model, a stage; 0: the schedule's fewest
  bool recompute = false;
  bool sequence_parallel = false;
  std::string cp_method = "ring";
  std::string order = "pp,dp,cp,tp";  // of the axes, outermost first

  int64_t world() const { return pp * dp * cp * tp; }
  // Ranks with the same (pp, tp): gradients are summed and ZeRO shards over them.
  int64_t data_ranks() const { return dp * cp; }
  bool operator==(const Layout&) const = default;
};

// "pp=2 dp=1 cp=1 tp=2 zero=1 schedule=1f1b": axes of one rank and settings at rest are left out.
std::string text(const Layout& layout);

// Pipeline schedules by name, "none" first; how many chunks a stage one takes (0: two or more).
struct ScheduleName {
  const char* name;
  int64_t chunks;
};
const std::vector<ScheduleName>& schedule_names();
bool is_schedule_file(const std::string& schedule);

// What a model and its data allow.
struct LayoutLimits {
  int64_t layers = 1;
  int64_t heads = 1;
  int64_t longest_sequence = 0;    // tokens; 0: not known
  int64_t micro_batch_tokens = 0;  // data.micro_batch_tokens; 0: not known
};

struct LayoutFault {
  std::string key;      // "parallel.tp"
  std::string reason;   // a few words, the same for all layouts that fail so: for counting
  std::string message;  // what is wrong with this one, and what to do
};

// With what is left open (dp, chunks of 0, schedule "auto") filled in for `world` ranks. Throws
// input_error when the axes do not multiply to it; `where` says where a key was set
// (Schema::where).
using Where = std::function<std::string(const std::string& key)>;
Layout fitted(Layout layout, int64_t world, const Where& where);

// Everything that forbids the layout, the gravest first; empty: it may run.
std::vector<LayoutFault> layout_faults(const Layout& layout, const LayoutLimits& limits);

// Throws input_error with the first of layout_faults().
void check_layout(const Layout& layout, const LayoutLimits& limits, const Where& where);

}  // namespace trireme::parallel
