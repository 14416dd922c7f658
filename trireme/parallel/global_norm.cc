#include "trireme/parallel/global_norm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/optim/grad_norm.h"

namespace trireme::parallel {
namespace {

// The groups over which what this rank knows is to be put together, in this order.
std::vector<comm::Group*> groups_of(const std::vector<Engine*>& engines) {
  if (engines.empty()) throw run_error("a norm over no engine");
  std::vector<comm::Group*> groups;
  const Engine& first = *engines.front();
  if (first.sharded()) groups.push_back(&first.group());
  if (first.options().model != nullptr) groups.push_back(first.options().model);
  return groups;
}

void add_names(const std::string& json, size_t most, std::vector<std::string>& names) {
  for (const Json& name : parse_json(json, "tensors that are not finite")) {
    const auto text = name.get<std::string>();
    const bool known = std::find(names.begin(), names.end(), text) != names.end();
    if (!known && names.size() < most) names.push_back(text);
  }
}

std::vector<std::string> non_finite(const std::vector<Engine*>& engines, size_t most,
                                    at::Tensor optim::FlatBuffer::*which) {
  const at::NoGradGuard no_grad;
  std::vector<std::string> names;
  for (const Engine* engine : engines) {
    for (const Region& region : engine->regions()) {
      if (names.size() == most) break;
      const at::Tensor& flat = engine->flat_buffers()[region.bucket].*which;
      if (flat.defined() && !region.view(flat).isfinite().all().item<bool>()) {
        names.push_back(region.name);
      }
    }
  }
  for (comm::Group* group : groups_of(engines)) {
    const std::vector<std::string> all =
        group->all_gather_bytes(dump_json(Json(names)), "tensors that are not finite");
    names.clear();
    for (const std::string& of_rank : all) add_names(of_rank, most, names);
  }
  return names;
}

}  // namespace

double grad_norm(const std::vector<Engine*>& engines) {
  double squares = 0;
  for (const Engine* engine : engines) {
    squares += optim::grad_sum_of_squares(engine->counted_gradients());
  }
  for (comm::Group* group : groups_of(engines)) {
    const at::Tensor sum = at::scalar_tensor(squares, at::kDouble);
    group->all_reduce(sum, comm::ReduceOp::kSum, "gradient norm")->wait();
    squares = sum.item<double>();
  }
  return std::sqrt(squares);
}

std::vector<std::string> non_finite_gradients(const std::vector<Engine*>& engines, size_t most) {
  return non_finite(engines, most, &optim::FlatBuffer::grad);
}

std::vector<std::string> non_finite_masters(const std::vector<Engine*>& engines, size_t most) {
  return non_finite(engines, most, &optim::FlatBuffer::master);
}

}  // namespace trireme::parallel
