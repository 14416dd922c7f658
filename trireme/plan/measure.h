// Measures what plans compute with (machine.h), with the kernels that training runs.
//
//   at::set_num_threads(2);
//   ComputeRates rates = measure_compute({});            // of this rank alone
//   std::vector<Link> links = measure_links(world, {});  // every rank calls it
#pragma once

#include <vector>

#include "trireme/comm/world.h"
#include "trireme/plan/machine.h"

namespace trireme::plan {

struct MeasureOptions {
  bool quick = false;       // fewer sizes: seconds instead of a minute
  double point_s = 0.006;   // of timed runs, a size
  double most_flops = 4e9;  // of a product; beyond, the rate of the largest smaller one is taken
};

// Of this process with the threads it has (ranks: 1).
ComputeRates measure_compute(const MeasureOptions& options);

// The same while every rank of the world measures, averaged over them: what ranks that share a
// machine get. Every rank calls it and gets the same.
ComputeRates measure_together(comm::World& world, const MeasureOptions& options);

// Collectives and messages between the ranks of a world of several, all on this host: in shared
// memory (where comm.backend allows) and over TCP. Every rank calls it and gets the same.
std::vector<Link> measure_links(comm::World& world, const MeasureOptions& options);

}  // namespace trireme::plan
