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

void Param::ready() {
  if (!wants_grad()) return;
  if (++ready_calls_ < uses) return;
  ready_calls_ = 0;
  if (sink != nullptr) sink->param_ready(*this);
}

std::vector<PartView> part_views(const Param& param, const at::Tensor& whole) {
  std::vector<PartView> views;
  int64_t row = 0;
  for (const Part& part : param.spec.parts) {
    views.push_back({&part, row, whole.narrow(0, row, part.rows)});
    row += part.rows;
  }
  if (row != whole.size(0))
    throw run_error("parts of ", param.spec.name, " hold ", row, " of ", whole.size(0), " rows");
  return views;
}

namespace {

template <class Body>
void for_each_param_once(const std::vector<UnitParams>& units, const Body& body) {
  std::unordered_set<const Param*> seen;
  for (const UnitParams& unit : units)
    for (Param* param : unit.params)
      if (seen.insert(param).second) body(*param);
}

}  // namespace

void allocate_values(const std::vector<UnitParams>& units, at::ScalarType dtype) {
  for_each_param_once(units,
                      [&](Param& param) { param.value = at::zeros(param.spec.shape, dtype); });
}

void allocate_grads(const std::vector<UnitParams>& units) {
  for_each_param_once(
      units, [&](Param& param) { param.main_grad = at::zeros(param.spec.shape, at::kFloat); });
}

void init_param(const Param& param, uint64_t seed, at::Tensor whole) {
  at::NoGradGuard no_grad;
  const ParamSpec& spec = param.spec;
  switch (spec.init) {
    case InitKind::kZeros:
      whole.zero_();
      return;
    case InitKind::kOnes:
      whole.fill_(1);
      return;
    case InitKind::kNormal:
      break;
  }
  at::Tensor values = at::empty(whole.sizes(), at::kFloat);
  for (const PartView& part : part_views(param, values)) {
    const uint64_t name = hash_name(part.part->name);
    fill_normal(
        std::span<float>(part.view.data_ptr<float>(), static_cast<size_t>(part.view.numel())),
        spec.init_std, seed, name, 0);
  }
  whole.copy_(values);
}

}  // namespace trireme::nn
