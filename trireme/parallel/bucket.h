// One bucket's memory on this rank, at a ZeRO stage (Rajbhandari et al., "ZeRO: Memory
// Optimizations Toward Training Trillion Parameter Models", 2020), and the operations that move it.
//
//   stage   values                       gradients                masters, moments
//   0       whole                        whole, all-reduced       whole
//   1       whole                        whole, reduce-scattered  own part
//   2       whole                        own part; whole while    own part
//                                        backward fills it
//   3       own part; whole while used   as at 2                  own part
//
// Joined values (stages 1 to 3): the own part alone; the whole is everyone's parts, in place.
//
// The own part is the r-th of as many equal flat parts as the group has ranks. Where compute is in
// fp32, masters are the values of the own part themselves.
//
// All functions that say "starts" begin one operation on every rank of the group; the engine calls
// them in one order everywhere.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/optim/flat_buffer.h"
#include "trireme/parallel/elastic_flat.h"
#include "trireme/parallel/flat_layout.h"
#include "trireme/parallel/sparse_rows.h"

namespace trireme::parallel {

struct BucketOptions {
  int zero_stage = 0;
  bool join_values = false;  // comm::Group::join(); parts are whole pages then
  // Ranks over which gradients of Params of kReplicatedPartialGrad are shares; null: they are
  // whole.
  comm::Group* partial_grads = nullptr;
  at::ScalarType compute_dtype = at::kFloat;
  int64_t chunk_bytes = 25 << 20;  // of an all-reduce
};

class Bucket {
 public:
  // Allocates what is there at all times (zero), and points the Params' main_grad and value at
  // their places.
  Bucket(FlatLayout layout, comm::Group& group, const BucketOptions& options);
  Bucket(const Bucket&) = delete;
  Bucket& operator=(const Bucket&) = delete;
  // Leaves the values that are there, and no gradients.
  ~Bucket();

  const FlatLayout& layout() const { return layout_; }
  const std::string& name() const { return layout_.name; }
  bool frozen() const { return layout_.frozen; }
  // What the optimiser works on: the own part.
  const optim::FlatBuffer& buffer() const { return buffer_; }

  // Gradients. None of these for a frozen bucket.
  void begin_step();  // what was there counts for nothing
  void open_grad();   // memory for the whole gradient, if there is none
  // Starts the sum over the ranks of what has come; Params that none came for count as zero. Shares
  // of gradients are summed first.
  void start_reduce();
  // The own part holds the sum (at stage 2 and 3 that of all micro-batches so far) and the whole is
  // freed.
  void finish_reduce();
  void abandon();

  // Whole values, at stage 3: each acquire() has its release(). The first one starts the gather.
  void acquire();
  void wait_values();
  void release();
  // Forgets all acquire()s.
  void drop_values();

  // Own values from own masters (in bf16; in fp32 they are the same).
  void round_masters();
  // Own values changed: starts to gather the whole ones, where they are there. wait_values() ends.
  void start_gather_updates();

 private:
  bool sharded() const { return options_.zero_stage >= 1; }
  bool grads_come_and_go() const { return options_.zero_stage >= 2; }
  bool values_come_and_go() const { return options_.zero_stage >= 3 && !options_.join_values; }
  at::Tensor own_part(const at::Tensor& whole) const;
  void allocate_values();
  void allocate_grads();
  void expect_fresh_grads();
  void zero_missing_grads();
  void sum_partial_grads();
  void start_gather();
  void all_reduce();
  void all_reduce_dense(const at::Tensor& part);

  FlatLayout layout_;
  comm::Group& group_;
  BucketOptions options_;
  ShardRun own_;
  optim::FlatBuffer buffer_;
  at::Tensor whole_value_, whole_grad_;  // [layout.numel]; elastic at stage 3, and 2 and 3
  ElasticFlat elastic_value_, elastic_grad_;
  std::vector<at::Tensor> value_views_;  // by slot, at stage 3
  int value_users_ = 0;
  comm::WorkPtr gathering_;
  std::vector<comm::WorkPtr> reducing_;
  std::vector<SparseRows> sparse_;
  bool has_sum_ = false;  // at stage 2 and 3: the own part holds earlier micro-batches' sum
};

}  // namespace trireme::parallel
