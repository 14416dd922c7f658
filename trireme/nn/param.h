// Parameters. A layer owns Params; an engine (trireme/parallel) gives them storage and takes their
// gradients.
//
// Invariants
//  - value is in the compute dtype; main_grad is fp32, of value's shape, and a view in the engine's
//    flat bucket. Where tensor parallelism cuts a Param that is the shape of this rank's part:
//    layers compute by value's shape, never by the spec's.
//  - A layer's backward adds its gradient straight into main_grad (autograd sees none) and then
//    calls ready(), once a use. After `uses` calls in a micro-batch the sink hears of it: the only
//    trigger of communication.
//  - A Param without main_grad is frozen (or the model only infers): backward skips its gradient
//    and calls nothing.
//  - An engine may leave main_grad without memory, or its content arbitrary, until a gradient
//    comes, and value undefined while its unit does not run (ZeRO): backward gets at a gradient
//    through grad() or grad_target() alone, and reads value when it runs, never a copy of the
//    tensor that forward saw.
//  - Params stay where they are made: modules are not copied or moved, engines keep pointers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "trireme/nn/tensor_cut.h"

namespace trireme::nn {

// A named run of rows (dim 0) of a Param: query, key and value in one fused product, each with its
// own name in Hugging Face's files. An unfused Param is one part of all its rows.
struct Part {
  std::string name;  // Hugging Face's name, e.g. bert.encoder.layer.0.attention.self.query.weight
  int64_t rows = 0;
};

// What tensor parallelism makes of a Param.
enum class TpKind {
  kReplicated,             // every rank holds it whole, and its gradient is the same on all
  kReplicatedPartialGrad,  // ... but under sequence parallelism each rank has a share of the
                           // gradient (norms, biases behind row-parallel products): their sum is it
  kShard,                  // every rank holds slices along tp_dim
};

// A weight that units of two pipeline stages use (a language model's embedding table and head):
// each stage holds it, with gradients and optimiser state of its own; the gradients' sum over the
// two is the gradient (parallel/tied_grads.h).
enum class Tie {
  kNone,
  kOriginal,  // on the first of the stages
  kCopy,      // on the other: in no checkpoint and no norm
};

enum class InitKind { kZeros, kOnes, kNormal };

struct ParamSpec {
  std::string name;            // unique in the model; equal to parts[0].name when there is one part
  std::vector<int64_t> shape;  // global shape
  std::vector<Part> parts;     // rows in order; sum of rows = shape[0]; never empty
  std::vector<std::string> aliases;  // further names of the same tensor in files (ties)
  TpKind tp = TpKind::kReplicated;
  // For kShard: each part is, along tp_dim, tp_blocks equal blocks, and a rank holds its slice_of()
  // each block (GPT-2's c_attn [H, 3H] is query, key and value along dim 1: 3).
  int tp_dim = 0;
  int tp_blocks = 1;
  Tie tie = Tie::kNone;
  bool decay = true;  // weight decay group (off for biases and norms)
  double lr_scale = 1.0;
  bool sparse_grad = false;  // few rows of a gradient are not zero (an embedding table's)
  bool frozen = false;       // not trained: no gradient, no optimiser state
  InitKind init = InitKind::kNormal;
  double init_std = 0.02;

  int64_t numel() const;
  // The shape of what a rank holds.
  std::vector<int64_t> local_shape(TpSlice slice) const;
};

// What a rank holds of a part (a whole Param has one or more); the whole part unless spec.tp is
// kShard. Throws run_error where the part is not tp_blocks equal blocks.
TensorCut cut_part(const ParamSpec& spec, const Part& part, TpSlice slice);

// A matrix [rows of all parts, columns], drawn from N(0, init_std^2); one part: [rows, columns].
ParamSpec matrix_spec(const std::string& name, std::vector<Part> parts, int64_t columns,
                      double init_std);
ParamSpec matrix_spec(const std::string& name, int64_t rows, int64_t columns, double init_std);
// A vector of the parts, without weight decay: a bias, a norm's weight.
ParamSpec vector_spec(const std::string& name, std::vector<Part> parts, InitKind init);
ParamSpec vector_spec(const std::string& name, int64_t size, InitKind init);

class Param;

// Weight gradients that wait: a pipeline's schedule may put them off (Qi et al., "Zero Bubble
// Pipeline Parallelism", 2023). While a Param has one, later() and ready() only add to it.
class WeightQueue {
 public:
  void add(std::function<void()> work) { work_.push_back(std::move(work)); }
  // All of it, in the order in which it came; the queue is empty then. The Params' weight_queue
  // must be null by now.
  void run();

 private:
  std::vector<std::function<void()>> work_;
};

// Who hears of a Param's gradient.
class GradSink {
 public:
  virtual ~GradSink() = default;
  // The first gradient since expect_fresh_grad() comes: main_grad must have memory on return.
  virtual void grad_needed(Param&) {}
  // The gradient of this micro-batch is complete.
  virtual void param_ready(Param& param) = 0;
};

class Param {
 public:
  explicit Param(ParamSpec spec) : spec(std::move(spec)) {}
  Param(const Param&) = delete;
  Param& operator=(const Param&) = delete;

  ParamSpec spec;
  TpSlice slice;         // set by whoever gives storage
  at::Tensor value;      // [local_shape()], compute dtype; undefined until storage is given
  at::Tensor main_grad;  // [local_shape()], fp32; undefined: frozen, or inference
  int uses = 1;          // calls of ready() that complete a micro-batch (a tied weight has 2)
  GradSink* sink = nullptr;
  WeightQueue* weight_queue = nullptr;  // null: gradients are added at once

  std::vector<int64_t> local_shape() const { return spec.local_shape(slice); }
  bool wants_grad() const { return main_grad.defined(); }

  // main_grad to add a gradient to: zero when none has come yet. Undefined when frozen.
  const at::Tensor& grad();
  // The same for a product that writes as easily as it adds. fresh: nothing has come yet and the
  // content is arbitrary: write.
  struct GradTarget {
    const at::Tensor& grad;
    bool fresh;
  };
  GradTarget grad_target();
  // From here on main_grad's content counts for nothing: the first gradient that comes replaces it.
  void expect_fresh_grad() { grad_is_fresh_ = true; }
  bool grad_is_fresh() const { return grad_is_fresh_; }

  // Runs a gradient's product now, or puts it into the weight queue. For what needs nothing but
  // what it holds, and what nothing else of this backward needs.
  void later(std::function<void()> product);
  // One use's gradient is in main_grad. Called by layers' backward or from later(). With a weight
  // queue it counts when that runs, so that micro-batches stay apart.
  void ready();
  // Uses that have called ready() in this micro-batch, until all of them have.
  int ready_calls() const { return ready_calls_; }
  // Forgets a micro-batch that ended early (an error in backward).
  void reset_ready() { ready_calls_ = 0; }

 private:
  int ready_calls_ = 0;
  bool grad_is_fresh_ = false;
};

// The part's rows of a tensor of the Param's local shape (value, main_grad, an optimiser moment): a
// view, and which elements of the whole part it holds.
struct PartView {
  const Part* part;
  int64_t row_begin;  // first row in `local`
  at::Tensor view;    // [cut.local_shape()]
  TensorCut cut;
};
std::vector<PartView> part_views(const Param& param, const at::Tensor& local);

// The Params that an engine handles together: a transformer block, the embedding, a head. One that
// several units use (a tied weight) is named by each of them.
struct UnitParams {
  std::string name;
  std::vector<Param*> params;
  // The block is called through nn::Unit (unit.h), under this name: an engine sees it begin and
  // end. ZeRO stage 3 needs that of every unit.
  bool called_as_unit = false;
  bool backward_reads_values = true;
};

// Each Param once, in the order in which units first name it.
std::vector<Param*> params_once(const std::vector<UnitParams>& units);

// Gives every Param its slice and a tensor of its own in `dtype`, zero-filled: inference and tests.
// Training engines use buckets.
void allocate_values(const std::vector<UnitParams>& units, at::ScalarType dtype,
                     TpSlice slice = {});
// The same with main_grad (zero) by the slice that each has, for tests without an engine.
void allocate_grads(const std::vector<UnitParams>& units);

// Initial values by (seed, part name, element's index in the whole part) alone: every layout starts
// from the same bits. `local` has the Param's local shape (fp32 master or value).
void init_param(const Param& param, uint64_t seed, at::Tensor local);
// The same for a run of a whole part's elements, from element `first` on: `run` is flat.
void init_run(const ParamSpec& spec, const std::string& part_name, uint64_t seed, int64_t first,
              at::Tensor run);

}  // namespace trireme::nn
