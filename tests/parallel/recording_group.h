// A group of two that does nothing but note the sums that were asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/comm/group.h"

namespace trireme::testing {

class RecordingGroup final : public comm::Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 2; }
  comm::WorkPtr all_reduce(at::Tensor buffer, comm::ReduceOp, std::string_view tag) override {
    calls.push_back(cat(tag, ":", buffer.numel()));
    return comm::finished_work();
  }
  comm::WorkPtr broadcast(at::Tensor, int, std::string_view) override {
    return comm::finished_work();
  }
  comm::WorkPtr all_gather(at::Tensor, at::Tensor, std::string_view) override {
    throw std::logic_error("not used");
  }
  comm::WorkPtr reduce_scatter(at::Tensor, at::Tensor, comm::ReduceOp, std::string_view) override {
    throw std::logic_error("not used");
  }
  comm::WorkPtr all_to_all(at::Tensor, at::Tensor, std::string_view) override {
    throw std::logic_error("not used");
  }
  comm::WorkPtr send(at::Tensor, int, std::string_view) override {
    throw std::logic_error("not used");
  }
  comm::WorkPtr recv(at::Tensor, int, std::string_view) override {
    throw std::logic_error("not used");
  }
  void barrier(std::string_view) override {}

  std::vector<std::string> calls;  // "TAG:ELEMENTS"
};

}  // namespace trireme::testing
