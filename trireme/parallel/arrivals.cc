#include "trireme/parallel/arrivals.h"

#include <string>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"

namespace trireme::parallel {

void Arrivals::add(const FlatLayout& layout) {
  std::vector<nn::Param*> params;
  for (const Slot& slot : layout.slots) params.push_back(slot.param);
  const std::vector<bool> none(params.size(), false);
  buckets_.push_back({.params = std::move(params),
                      .frozen = layout.frozen,
                      .ready = none,
                      .used = none,
                      .pending = none.size()});
}

void Arrivals::begin_step() {
  for (Bucket& bucket : buckets_) bucket.used.assign(bucket.used.size(), false);
  begin_micro_batch();
}

void Arrivals::begin_micro_batch() {
  for (Bucket& bucket : buckets_) {
    bucket.ready.assign(bucket.ready.size(), false);
    bucket.pending = bucket.ready.size();
    bucket.open_units = bucket.units;
  }
}

void Arrivals::arrive(size_t bucket, size_t slot) {
  Bucket& of = buckets_[bucket];
  if (of.ready[slot]) {
    throw run_error("gradient of ", of.params[slot]->spec.name,
                    " was complete twice in one micro-batch: it is used more often than its ",
                    of.params[slot]->uses, " declared uses");
  }
  of.ready[slot] = true;
  of.used[slot] = true;
  --of.pending;
}

void Arrivals::end_micro_batch() {
  for (Bucket& bucket : buckets_) {
    if (bucket.pending == 0) continue;
    for (size_t slot = 0; slot < bucket.params.size(); ++slot) {
      if (bucket.params[slot]->ready_calls() > 0) bucket.used[slot] = true;
      bucket.params[slot]->reset_ready();
    }
  }
}

void Arrivals::check_all_used() const {
  std::vector<std::string> names;
  for (const Bucket& bucket : buckets_) {
    for (size_t slot = 0; slot < bucket.params.size() && !bucket.frozen; ++slot) {
      if (!bucket.used[slot]) names.push_back(bucket.params[slot]->spec.name);
    }
  }
  if (names.empty()) return;
  constexpr size_t kMost = 10;
  throw run_error("no gradient arrived for ", names.size(),
                  " parameter(s): ", list_text(names, kMost),
                  "; the loss does not depend on them: leave them out of the model, or let unused "
                  "parameters count as zero");
}

}  // namespace trireme::parallel
