#include "trireme/parallel/gatherer.h"

namespace trireme::parallel {

void Gatherer::acquire(size_t unit) {
  for (Bucket* bucket : units_[unit].buckets) bucket->acquire();
}

void Gatherer::release(size_t unit) {
  for (Bucket* bucket : units_[unit].buckets) bucket->release();
}

void Gatherer::enter(size_t unit, std::optional<size_t> next) {
  if (ahead_ == unit) {
    ahead_.reset();
  } else {
    drop_ahead();
    acquire(unit);
  }
  for (Bucket* bucket : units_[unit].buckets) bucket->wait_values();
  if (!next) return;
  acquire(*next);
  ahead_ = next;
}

void Gatherer::before_forward(size_t unit) {
  enter(unit, unit + 1 < units_.size() ? std::optional(unit + 1) : std::nullopt);
}

void Gatherer::after_forward(size_t unit, bool backward_follows) {
  const bool last = unit + 1 == units_.size();
  if (backward_follows && last && units_[unit].backward_reads_values && !ahead_) {
    ahead_ = unit;
  } else {
    release(unit);
  }
}

void Gatherer::before_backward(size_t unit) {
  if (!units_[unit].backward_reads_values) return;
  const bool previous = unit > 0 && units_[unit - 1].backward_reads_values;
  enter(unit, previous ? std::optional(unit - 1) : std::nullopt);
}

void Gatherer::after_backward(size_t unit) {
  if (units_[unit].backward_reads_values) release(unit);
}

void Gatherer::drop_ahead() {
  if (!ahead_) return;
  release(*ahead_);
  ahead_.reset();
}

void Gatherer::reset() {
  ahead_.reset();
  for (const UnitBuckets& unit : units_) {
    for (Bucket* bucket : unit.buckets) bucket->drop_values();
  }
}

}  // namespace trireme::parallel
