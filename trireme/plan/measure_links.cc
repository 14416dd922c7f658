#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "trireme/base/clock.h"
#include "trireme/plan/measure.h"

namespace trireme::plan {
namespace {

class LinkBench {
 public:
  LinkBench(comm::World& world, const MeasureOptions& options) : world_(world), options_(options) {}

  Link link(comm::Group& group, LinkPath path, LinkOp op) {
    Link link{.path = path, .op = op, .ranks = world_.size(), .bytes = {}};
    const std::vector<int64_t> sizes =
        options_.quick ? std::vector<int64_t>{4 << 10, 1 << 20}
                       : std::vector<int64_t>{4 << 10, 64 << 10, 1 << 20, 16 << 20};
    for (const int64_t bytes : sizes) {
      link.bytes.size.push_back(static_cast<double>(bytes));
      link.bytes.seconds.push_back(seconds(group, path, op, bytes));
    }
    return link;
  }

 private:
  static constexpr int64_t kBuffers = 3;  // taken in turn

  double seconds(comm::Group& group, LinkPath path, LinkOp op, int64_t bytes) {
    const int64_t n = bytes / 4 / group.size() * group.size(), part = n / group.size();
    const auto make = [&](int64_t numel) {
      return path == LinkPath::kArena ? group.empty(numel, at::kFloat).fill_(1)
                                      : at::ones({numel}, at::kFloat);
    };
    std::vector<at::Tensor> whole, parts;
    for (int64_t i = 0; i < kBuffers; ++i) {
      whole.push_back(make(n));
      parts.push_back(make(op == LinkOp::kAllToAll ? n : part));
    }
    std::vector<float> times;
    const int64_t runs = options_.quick ? 6 : bytes > (1 << 20) ? 9 : 25;
    for (int64_t i = 0; i < runs; ++i) {
      const at::Tensor& x = whole[static_cast<size_t>(i % kBuffers)];
      const at::Tensor& y = parts[static_cast<size_t>(i % kBuffers)];
      x.fill_(1);  // written by its owner, as a gradient is
      world_.world_group().barrier("bench");
      const Stopwatch watch(clock_);
      operate(group, op, x, y)->wait();
      if (i >= 2) times.push_back(static_cast<float>(watch.seconds()));
    }
    const at::Tensor slowest = at::tensor(times);
    world_.world_group().all_reduce(slowest, comm::ReduceOp::kMax, "times")->wait();
    return slowest.median().item<double>();
  }

  // The first two ranks send; the others look on.
  static comm::WorkPtr operate(comm::Group& group, LinkOp op, const at::Tensor& whole,
                               const at::Tensor& part) {
    switch (op) {
      case LinkOp::kAllReduce:
        return group.all_reduce(whole, comm::ReduceOp::kSum, "bench");
      case LinkOp::kAllGather:
        return group.all_gather(whole, part, "bench");
      case LinkOp::kReduceScatter:
        return group.reduce_scatter(part, whole, comm::ReduceOp::kSum, "bench");
      case LinkOp::kAllToAll:
        return group.all_to_all(part, whole, "bench");
      case LinkOp::kSend:
        break;
    }
    if (group.rank() > 1) return comm::finished_work();
    return group.rank() == 0 ? group.send(whole, 1, "bench") : group.recv(whole, 0, "bench");
  }

  comm::World& world_;
  MeasureOptions options_;
  SteadyClock clock_;
};

}  // namespace

std::vector<Link> measure_links(comm::World& world, const MeasureOptions& options) {
  std::vector<Link> links;
  if (world.size() < 2) return links;
  LinkBench bench(world, options);
  std::vector<int> ranks(static_cast<size_t>(world.size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  const auto add = [&](comm::Group& group, LinkPath path) {
    for (size_t op = 0; op < kLinkOpNames.size(); ++op) {
      links.push_back(bench.link(group, path, static_cast<LinkOp>(op)));
    }
  };
  if (world.backend() == "shm") {
    add(world.world_group(), LinkPath::kArena);
    add(world.world_group(), LinkPath::kStaged);
  }
  const auto network = world.make_group(ranks, "bench network", "gloo");
  add(*network, LinkPath::kNetwork);
  return links;
}

ComputeRates measure_together(comm::World& world, const MeasureOptions& options) {
  world.world_group().patient_barrier("bench compute");
  ComputeRates rates = measure_compute(options);
  rates.ranks = world.size();
  const std::vector<double*> values = measured_values(rates);
  std::vector<double> numbers;
  for (const double* value : values) numbers.push_back(*value);
  const at::Tensor mean = at::tensor(numbers, at::kDouble);
  world.world_group().patient_barrier("bench compute is over");
  if (world.size() > 1) world.world_group().all_reduce(mean, comm::ReduceOp::kAvg, "rates")->wait();
  for (size_t i = 0; i < values.size(); ++i) *values[i] = mean.const_data_ptr<double>()[i];
  return rates;
}

}  // namespace trireme::plan
