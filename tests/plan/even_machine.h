// A machine of round numbers: 100 GFLOP/s in fp32 and 200 in bf16, a nanosecond an element or pair,
// a GB/s and 10 us on every link.
#pragma once

#include "trireme/plan/machine.h"

namespace trireme::plan::testing {

inline Curve straight(double seconds_per_item, double least_s = 0) {
  Curve curve;
  for (const double n : {1e3, 1e6}) {
    curve.size.push_back(n);
    curve.seconds.push_back(least_s + n * seconds_per_item);
  }
  return curve;
}

inline ComputeRates even_rates(int64_t ranks, int64_t threads) {
  ComputeRates rates;
  rates.ranks = ranks;
  rates.threads = threads;
  for (size_t d = 0; d < rates.by_dtype.size(); ++d) {
    DtypeRates& dtype = rates.by_dtype[d];
    for (ProductGrid& grid : dtype.products) {
      grid.rows = grid.in = grid.out = {64, 4096};
      grid.gflops.assign(8, d == 0 ? 100.0 : 200.0);
    }
    for (Curve& curve : dtype.row_ops) curve = straight(1e-9);
    for (AttentionGrid& grid : dtype.attention) {
      grid.head_sizes = {64};
      grid.lengths = {16, 1024};
      grid.pair_ns = {1, 1};
    }
    dtype.adamw = straight(1e-9);
  }
  rates.grad_norm = rates.zero = straight(1e-9);
  rates.node_s = 1e-6;
  return rates;
}

inline Machine even_machine(int64_t cores = 2) {
  Machine machine;
  machine.cpu = "even";
  machine.date = "2026-01-01";
  machine.version = "0";
  machine.cores = cores;
  machine.memory_bytes = int64_t{16} << 30;
  machine.process_bytes = 100 << 20;
  machine.compute = {even_rates(1, 1), even_rates(2, 1)};
  for (size_t path = 0; path < kLinkPathNames.size(); ++path) {
    for (size_t op = 0; op < kLinkOpNames.size(); ++op) {
      machine.links.push_back({.path = static_cast<LinkPath>(path),
                               .op = static_cast<LinkOp>(op),
                               .ranks = 2,
                               .bytes = straight(1e-9, 1e-5)});
    }
  }
  return machine;
}

}  // namespace trireme::plan::testing
