#include "trireme/nn/param.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <span>
#include <unordered_set>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::nn {

int64_t ParamSpec::numel() const {
  int64_t n = 1;
  for (int64_t size : shape) n *= size;
  return n;
}

std::vector<int64_t> ParamSpec::local_shape(TpSlice slice) const {
  if (tp != TpKind::kShard) return shape;
  std::vector<int64_t> local = shape;
  int64_t rows = 0;
  for (const Part& part : parts) {
    local = cut_part(*this, part, slice).local_shape();
    rows += local[0];
  }
  local[0] = rows;
  return local;
}

TensorCut cut_part(const ParamSpec& spec, const Part& part, TpSlice slice) {
  std::vector<int64_t> shape = spec.shape;
  shape[0] = part.rows;
  if (spec.tp != TpKind::kShard) return TensorCut::all_of(std::move(shape));
  const int64_t size = shape.at(static_cast<size_t>(spec.tp_dim));
  if (size % spec.tp_blocks != 0) {
    throw run_error(part.name, ": ", size, " elements of dim ", spec.tp_dim, " are not ",
                    spec.tp_blocks, " equal blocks");
  }
  TensorCut cut{.shape = std::move(shape), .dim = spec.tp_dim, .ranges = {}};
  const int64_t block = size / spec.tp_blocks;
  for (int64_t begin = 0; begin < size; begin += block) {
    const DimRange mine = slice_of(block, slice);
    cut.ranges.push_back({begin + mine.begin, begin + mine.end});
  }
  return cut;
}

ParamSpec matrix_spec(const std::string& name, std::vector<Part> parts, int64_t columns,
                      double init_std) {
  ParamSpec spec = vector_spec(name, std::move(parts), InitKind::kNormal);
  spec.shape.push_back(columns);
  spec.decay = true;
  spec.init_std = init_std;
  return spec;
}

ParamSpec vector_spec(const std::string& name, std::vector<Part> parts, InitKind init) {
  ParamSpec spec;
  spec.name = name;
  int64_t size = 0;
  for (const Part& part : parts) size += part.rows;
  spec.shape = {size};
  spec.parts = std::move(parts);
  spec.decay = false;
  spec.init = init;
  return spec;
}

ParamSpec matrix_spec(const std::string& name, int64_t rows, int64_t columns, double init_std) {
  return matrix_spec(name, {{name, rows}}, columns, init_std);
}

ParamSpec vector_spec(const std::string& name, int64_t size, InitKind init) {
  return vector_spec(name, {{name, size}}, init);
}

const at::Tensor& Param::grad() {
  const GradTarget target = grad_target();
  if (target.fresh) target.grad.zero_();
  return target.grad;
}

Param::GradTarget Param::grad_target() {
  if (!wants_grad() || !grad_is_fresh_) return {main_grad, false};
  if (sink != nullptr) sink->grad_needed(*this);
  grad_is_fresh_ = false;
  return {main_grad, true};
}

void WeightQueue::run() {
  for (auto& one : std::exchange(work_, {})) {
    one();
    one = nullptr;  // what it holds is free for the next
  }
}

void Param::later(std::function<void()> product) {
  if (weight_queue != nullptr) {
    weight_queue->add(std::move(product));
  } else {
    product();
  }
}

void Param::ready() {
  if (!wants_grad()) return;
  if (weight_queue != nullptr) {
    weight_queue->add([this] { ready(); });
    return;
  }
  if (++ready_calls_ < uses) return;
  ready_calls_ = 0;
  if (sink != nullptr) sink->param_ready(*this);
}

std::vector<PartView> part_views(const Param& param, const at::Tensor& local) {
  std::vector<PartView> views;
  int64_t row = 0;
  for (const Part& part : param.spec.parts) {
    TensorCut cut = cut_part(param.spec, part, param.slice);
    const int64_t rows = cut.local_shape()[0];
    views.push_back({&part, row, local.narrow(0, row, rows), std::move(cut)});
    row += rows;
  }
  if (row != local.size(0))
    throw run_error("parts of ", param.spec.name, " hold ", row, " of ", local.size(0), " rows");
  return views;
}

std::vector<Param*> params_once(const std::vector<UnitParams>& units) {
  std::vector<Param*> params;
  std::unordered_set<const Param*> seen;
  for (const UnitParams& unit : units)
    for (Param* param : unit.params)
      if (seen.insert(param).second) params.push_back(param);
  return params;
}

void allocate_values(const std::vector<UnitParams>& units, at::ScalarType dtype, TpSlice slice) {
  for (Param* param : params_once(units)) {
    param->slice = slice;
    param->value = at::zeros(param->local_shape(), dtype);
  }
}

void allocate_grads(const std::vector<UnitParams>& units) {
  for (Param* param : params_once(units))
    param->main_grad = at::zeros(param->local_shape(), at::kFloat);
}

void init_run(const ParamSpec& spec, const std::string& part_name, uint64_t seed, int64_t first,
              at::Tensor run) {
  at::NoGradGuard no_grad;
  switch (spec.init) {
    case InitKind::kZeros:
      run.zero_();
      return;
    case InitKind::kOnes:
      run.fill_(1);
      return;
    case InitKind::kNormal:
      break;
  }
  const bool direct = run.scalar_type() == at::kFloat && run.is_contiguous();
  const at::Tensor values = direct ? run : at::empty({run.numel()}, at::kFloat);
  fill_normal(std::span<float>(values.data_ptr<float>(), static_cast<size_t>(values.numel())),
              spec.init_std, seed, hash_name(part_name), static_cast<uint64_t>(first));
  if (!direct) run.copy_(values);
}

void init_param(const Param& param, uint64_t seed, at::Tensor local) {
  for (const PartView& part : part_views(param, local)) {
    const at::Tensor flat = part.view.view({-1});
    part.cut.each_run(0, flat.numel(), [&](const CutRun& run) {
      init_run(param.spec, part.part->name, seed, run.global, flat.narrow(0, run.local, run.numel));
    });
  }
}

}  // namespace trireme::nn
