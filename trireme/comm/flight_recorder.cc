#include "trireme/comm/flight_recorder.h"

#include <algorithm>

namespace trireme::comm {
namespace {

bool one_way(OperationKind kind) {
  return kind == OperationKind::kSend || kind == OperationKind::kRecv;
}

}  // namespace

FlightRecorder::FlightRecorder(std::shared_ptr<const Clock> clock)
    : clock_(std::move(clock)), ring_(kEntries) {}

FlightRecorder::GroupId FlightRecorder::add_group(std::string name, std::vector<int> ranks) {
  const std::lock_guard lock(mutex_);
  const auto first = static_cast<uint32_t>(last_.size());
  last_.resize(last_.size() + 1 + 2 * ranks.size());
  groups_.push_back({std::move(name), std::move(ranks), first});
  return static_cast<GroupId>(groups_.size() - 1);
}

uint32_t FlightRecorder::series_of(const Group& group, OperationKind kind, int peer) {
  if (!one_way(kind)) {
    return group.series;
  }
  const auto ranks = static_cast<uint32_t>(group.ranks.size());
  return group.series + 1 + (kind == OperationKind::kRecv ? ranks : 0) +
         static_cast<uint32_t>(peer);
}

FlightRecorder::Ticket FlightRecorder::begin(GroupId group, const Call& call) {
  Ticket ticket;
  Entry& entry = ticket.entry;
  entry.begin_ns = clock_->now_ns();
  entry.bytes = call.bytes;
  entry.group = group;
  entry.peer = call.peer;
  entry.kind = call.kind;
  entry.dtype = call.dtype;
  const size_t tag_bytes = std::min(call.tag.size(), kTagBytes);
  std::copy_n(call.tag.data(), tag_bytes, entry.tag.data());
  entry.tag_bytes = static_cast<uint8_t>(tag_bytes);
  const std::lock_guard lock(mutex_);
  ticket.series = series_of(groups_[group], call.kind, call.peer);
  Entry& last = last_[ticket.series];
  entry.seq = last.seq + 1;
  last = entry;
  ticket.number = count_++;
  ring_[ticket.number % kEntries] = entry;
  return ticket;
}

void FlightRecorder::end(const Ticket& ticket) {
  const int64_t now = clock_->now_ns();
  const std::lock_guard lock(mutex_);
  if (count_ - ticket.number <= kEntries) {
    ring_[ticket.number % kEntries].end_ns = now;
  }
  Entry& last = last_[ticket.series];
  if (last.seq == ticket.entry.seq) {
    last.end_ns = now;
  }
}

Operation FlightRecorder::in_words(const Entry& entry, int64_t now_ns) const {
  const Group& group = groups_[entry.group];
  Operation o;
  o.group = group.name;
  o.kind = kind_name(entry.kind);
  o.tag.assign(entry.tag.data(), entry.tag_bytes);
  if (entry.dtype != at::ScalarType::Undefined) {
    o.dtype = c10::toString(entry.dtype);
  }
  o.bytes = entry.bytes;
  o.seq = entry.seq;
  o.peer = entry.peer < 0 ? -1 : group.ranks[static_cast<size_t>(entry.peer)];
  o.running = entry.end_ns == 0;
  o.age_s = 1e-9 * static_cast<double>(now_ns - entry.begin_ns);
  o.took_s = o.running ? 0 : 1e-9 * static_cast<double>(entry.end_ns - entry.begin_ns);
  return o;
}

Operation FlightRecorder::operation(const Ticket& ticket) const {
  const int64_t now = clock_->now_ns();
  const std::lock_guard lock(mutex_);
  const bool kept = count_ - ticket.number <= kEntries;
  return in_words(kept ? ring_[ticket.number % kEntries] : ticket.entry, now);
}

std::vector<Operation> FlightRecorder::last() const {
  const int64_t now = clock_->now_ns();
  const std::lock_guard lock(mutex_);
  std::vector<Operation> out;
  for (const Entry& entry : last_) {
    if (entry.seq > 0) {
      out.push_back(in_words(entry, now));
    }
  }
  return out;
}

std::vector<Operation> FlightRecorder::all() const {
  const int64_t now = clock_->now_ns();
  const std::lock_guard lock(mutex_);
  std::vector<Operation> out;
  for (uint64_t i = count_ - std::min<uint64_t>(count_, kEntries); i < count_; ++i) {
    out.push_back(in_words(ring_[i % kEntries], now));
  }
  return out;
}

}  // namespace trireme::comm
