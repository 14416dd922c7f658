#include "trireme/train/meters.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "trireme/base/files.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::train {
namespace {

// The value of a line "Name:   123 kB", in bytes; 0 when it is not there.
int64_t status_bytes(const std::string& status, const std::string& name) {
  size_t at = status.find("\n" + name + ":");
  if (at == std::string::npos) return 0;
  at = status.find_first_of("0123456789", at);
  int64_t kilobytes = 0;
  std::from_chars(status.data() + at, status.data() + status.size(), kilobytes);
  return kilobytes * 1024;
}

}  // namespace

void Throughput::add_step(int64_t real_tokens, double seconds) {
  steps_.push_back({static_cast<double>(real_tokens), seconds});
}

size_t Throughput::first() const {
  return steps_.size() > kWarmupSteps ? kWarmupSteps : 0;
}

double Throughput::rate(size_t begin, size_t end) const {
  double tokens = 0, seconds = 0;
  for (size_t i = begin; i < end; ++i) {
    tokens += steps_[i].tokens;
    seconds += steps_[i].seconds;
  }
  return seconds > 0 ? tokens / seconds : 0;
}

double Throughput::median() const {
  std::vector<double> rates;
  for (size_t end = first() + kBlockSteps; end <= steps_.size(); end += kBlockSteps) {
    rates.push_back(rate(end - kBlockSteps, end));
  }
  if (rates.empty()) return mean();
  std::sort(rates.begin(), rates.end());
  const size_t half = rates.size() / 2;
  return rates.size() % 2 == 1 ? rates[half] : (rates[half - 1] + rates[half]) / 2;
}

double Throughput::mean() const {
  return rate(first(), steps_.size());
}

double Throughput::recent() const {
  return rate(steps_.size() - std::min<size_t>(steps_.size(), kBlockSteps), steps_.size());
}

void PhaseClock::enter(Phase phase) {
  seconds_[static_cast<size_t>(phase_)] += watch_.seconds();
  watch_.restart();
  phase_ = phase;
}

Json PhaseClock::seconds() {
  enter(phase_);
  constexpr std::array<const char*, kPhases> kNames = {
      "other_s",     "data_wait_s", "forward_s", "backward_s",  "pipeline_s",
      "comm_wait_s", "optimizer_s", "eval_s",    "checkpoint_s"};
  Json out = Json::object();
  for (size_t i = 0; i < kPhases; ++i) out[kNames[i]] = seconds_[i];
  return out;
}

ProcessMemory process_memory() {
  const std::string status = read_file("/proc/self/status");
  return {status_bytes(status, "RssAnon"), status_bytes(status, "VmHWM")};
}

Json peak_tensor_bytes() {
  using device::MemoryCategory;
  const device::CachingAllocator* allocator = device::caching_allocator();
  if (allocator == nullptr) return nullptr;
  const device::MemoryStats stats = allocator->stats();
  const auto peak = [&](MemoryCategory category) { return stats.of(category).peak_bytes; };
  return {{"parameters", peak(MemoryCategory::kParameters)},
          {"gradients", peak(MemoryCategory::kGradients)},
          {"optimizer", peak(MemoryCategory::kOptimizer)},
          {"activations", peak(MemoryCategory::kActivations)}};
}

}  // namespace trireme::train
